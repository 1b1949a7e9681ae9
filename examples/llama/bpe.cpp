#include "bpe.hpp"

#include "utf8.hpp"

#include <queue>
#include <stdexcept>

namespace llama {

namespace {

constexpr int kNoToken = -1;

}

std::vector<std::string> byte_spellings() {
    std::vector<std::string> spellings;
    char32_t next = 0x100;
    for (char32_t byte = 0; byte < 256; ++byte) {
        const bool printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
        std::string spelling;
        append_utf8(spelling, printable ? byte : next++);
        spellings.push_back(spelling);
    }
    return spellings;
}

BpeTokenizer::BpeTokenizer(const BpeTables& tables)
    : special_(tables.special), split_digits_(tables.split_digits) {
    const std::vector<std::string> spellings = byte_spellings();
    std::unordered_map<std::string, char> byte_of;
    const auto token = [&](const std::string& spelling) {
        const auto found = tables.vocabulary.find(spelling);
        if (found == tables.vocabulary.end()) {
            throw std::runtime_error("the vocabulary lacks \"" + spelling + "\"");
        }
        return found->second;
    };
    for (std::size_t byte = 0; byte < 256; ++byte) {
        const auto found = tables.vocabulary.find(spellings[byte]);
        byte_tokens_[byte] = found == tables.vocabulary.end() ? kNoToken : found->second;
        byte_of[spellings[byte]] = static_cast<char>(byte);
    }
    for (const auto& [left, right] : tables.merges) {
        const Merge merge{merges_.size(), token(left + right)};
        merges_.emplace(pair(token(left), token(right)), merge);
    }
    for (const auto& [spelling, id] : tables.vocabulary) {
        if (special_.count(spelling) != 0) {
            continue;
        }
        std::string bytes;
        for (const CodePoint& c : code_points(spelling)) {
            const auto found = byte_of.find(spelling.substr(c.begin, c.end - c.begin));
            if (found != byte_of.end()) {
                bytes += found->second;
            }
        }
        if (tables.ignore_merges) {
            whole_.emplace(bytes, id);
        }
        const auto index = static_cast<std::size_t>(id);
        if (bytes_.size() <= index) {
            bytes_.resize(index + 1);
        }
        bytes_[index] = bytes;
    }
}

std::optional<int> BpeTokenizer::special(const std::string& name) const {
    const auto found = special_.find(name);
    return found == special_.end() ? std::nullopt : std::optional<int>(found->second);
}

std::string BpeTokenizer::decode(int token) const {
    const auto index = static_cast<std::size_t>(token);
    return token >= 0 && index < bytes_.size() ? bytes_[index] : std::string();
}

std::vector<int> BpeTokenizer::encode(const std::string& text) const {
    std::vector<int> tokens;
    std::string plain;
    for (std::size_t at = 0; at < text.size();) {
        const std::pair<const std::string, int>* longest = nullptr;
        for (const auto& entry : special_) {
            const bool here = text.compare(at, entry.first.size(), entry.first) == 0;
            if (here && (longest == nullptr || entry.first.size() > longest->first.size())) {
                longest = &entry;
            }
        }
        if (longest == nullptr) {
            plain += text[at++];
            continue;
        }
        append_plain(plain, tokens);
        plain.clear();
        tokens.push_back(longest->second);
        at += longest->first.size();
    }
    append_plain(plain, tokens);
    return tokens;
}

std::vector<int> BpeTokenizer::encode_plain(const std::string& text) const {
    std::vector<int> tokens;
    append_plain(text, tokens);
    return tokens;
}

void BpeTokenizer::append_plain(const std::string& text, std::vector<int>& tokens) const {
    std::size_t begin = 0;
    for (const std::size_t end : split_pieces(text, split_digits_)) {
        encode_piece(text.substr(begin, end - begin), tokens);
        begin = end;
    }
}

/// Merges the pair of lowest rank, the leftmost of equals, until no pair merges any more.
void BpeTokenizer::encode_piece(const std::string& piece, std::vector<int>& tokens) const {
    const auto known = whole_.find(piece);
    if (known != whole_.end()) {
        return tokens.push_back(known->second);
    }
    struct Symbol {
        int token;
        std::size_t previous, next;
    };
    struct Candidate {
        std::size_t rank, left;
        int left_token, right_token;
        bool operator<(const Candidate& other) const { // the queue's top is its largest
            return rank != other.rank ? rank > other.rank : left > other.left;
        }
    };
    const std::size_t none = piece.size();
    std::vector<Symbol> symbols(none);
    std::priority_queue<Candidate> queue;
    const auto consider = [&](std::size_t left) {
        if (left == none || symbols[left].next == none) {
            return;
        }
        const int a = symbols[left].token;
        const int b = symbols[symbols[left].next].token;
        const auto merge = merges_.find(pair(a, b));
        if (merge != merges_.end()) {
            queue.push({merge->second.rank, left, a, b});
        }
    };
    for (std::size_t i = 0; i < none; ++i) {
        const int token = byte_tokens_[static_cast<unsigned char>(piece[i])];
        symbols[i] = {token, i == 0 ? none : i - 1, i + 1};
    }
    for (std::size_t i = 0; i < none; ++i) {
        consider(i);
    }
    while (!queue.empty()) {
        const Candidate best = queue.top();
        queue.pop();
        Symbol& left = symbols[best.left];
        // A candidate is stale once one of its two symbols has merged with another.
        if (left.token != best.left_token || left.next == none ||
            symbols[left.next].token != best.right_token) {
            continue;
        }
        symbols[left.next].token = kNoToken;
        left.token = merges_.at(pair(best.left_token, best.right_token)).result;
        left.next = symbols[left.next].next;
        if (left.next != none) {
            symbols[left.next].previous = best.left;
        }
        consider(left.previous);
        consider(best.left);
    }
    for (std::size_t i = 0; i < none; i = symbols[i].next) {
        if (symbols[i].token != kNoToken) {
            tokens.push_back(symbols[i].token);
        }
    }
}

} // namespace llama
