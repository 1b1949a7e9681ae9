// Byte-level byte-pair encoding, as GPT-2 introduced it.
#ifndef LLAMA_BPE_HPP
#define LLAMA_BPE_HPP

#include "tokenizer.hpp"

#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>

namespace llama {

/// What the files of a tokenizer say.
struct BpeTables {
    /// Tokens, spelled with GPT-2's visible characters for bytes.
    std::unordered_map<std::string, int> vocabulary;
    /// Pairs of tokens that merge, the most important first.
    std::vector<std::pair<std::string, std::string>> merges;
    /// Tokens that stand for themselves and are never made by merging.
    std::map<std::string, int> special;
    /// Every digit is a piece of its own.
    bool split_digits = false;
    /// A piece that is a token as a whole is that token, whatever the merges say.
    bool ignore_merges = false;
};

class BpeTokenizer : public Tokenizer {
  public:
    /// A byte without a token is left out when encoding. Throws std::runtime_error if a merge names
    /// an unknown token.
    explicit BpeTokenizer(const BpeTables& tables);

    std::vector<int> encode(const std::string& text) const override;
    std::vector<int> encode_plain(const std::string& text) const override;
    std::string decode(int token) const override;
    std::optional<int> special(const std::string& name) const override;

  private:
    struct Merge {
        std::size_t rank;
        int result;
    };
    using Pair = std::uint64_t;
    static Pair pair(int left, int right) {
        return static_cast<Pair>(left) << 32 | static_cast<std::uint32_t>(right);
    }

    void append_plain(const std::string& text, std::vector<int>& tokens) const;
    void encode_piece(const std::string& piece, std::vector<int>& tokens) const;

    std::unordered_map<Pair, Merge> merges_;
    std::unordered_map<std::string, int> whole_; // by bytes; filled with ignore_merges only
    std::vector<std::string> bytes_;             // of every token
    std::map<std::string, int> special_;
    int byte_tokens_[256];
    bool split_digits_;
};

/// Cuts text into the pieces that are encoded each on its own: GPT-2's rule (contractions, words,
/// numbers and other characters, each with a space before it; runs of spaces), digits one by one if
/// asked for. Returns the end of each piece.
std::vector<std::size_t> split_pieces(const std::string& text, bool split_digits);

/// The characters that GPT-2's vocabulary spells bytes with: printable ones stand for themselves,
/// the others for characters from U+0100 on.
std::vector<std::string> byte_spellings();

} // namespace llama

#endif
