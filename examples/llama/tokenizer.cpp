#include "tokenizer.hpp"

#include "bpe.hpp"
#include "json.hpp"

#include <fstream>
#include <set>
#include <stdexcept>

namespace llama {

namespace {

using json::Value;

bool exists(const std::string& path) { return std::ifstream(path).good(); }

/// One token per byte; what lies above 255 is special.
class ByteTokenizer : public Tokenizer {
  public:
    std::vector<int> encode(const std::string& text) const override { return encode_plain(text); }
    std::vector<int> encode_plain(const std::string& text) const override {
        std::vector<int> tokens;
        for (const char c : text) {
            tokens.push_back(static_cast<unsigned char>(c));
        }
        return tokens;
    }
    std::string decode(int token) const override {
        return token >= 0 && token < 256 ? std::string(1, static_cast<char>(token)) : std::string();
    }
    std::optional<int> special(const std::string&) const override { return std::nullopt; }
};

std::unordered_map<std::string, int> read_vocabulary(const Value& object) {
    std::unordered_map<std::string, int> vocabulary;
    for (const auto& [token, id] : object.object()) {
        const double number = id.number();
        if (!(number >= 0 && number < 1 << 30)) {
            throw std::runtime_error("the token \"" + token + "\" has a number out of range");
        }
        vocabulary[token] = static_cast<int>(number);
    }
    return vocabulary;
}

std::pair<std::string, std::string> read_merge(const std::string& line) {
    const std::size_t space = line.find(' ');
    if (space == std::string::npos) {
        throw std::runtime_error("no merge: \"" + line + "\"");
    }
    return {line.substr(0, space), line.substr(space + 1)};
}

/// Files of this kind do not say which tokens are special: take those of the form <...> that no
/// merge makes. Nor do they say whether digits stand alone: where they do, no token has two.
BpeTables read_vocab_and_merges(const std::string& directory) {
    BpeTables tables;
    tables.vocabulary = read_vocabulary(json::parse_file(directory + "/vocab.json"));
    std::ifstream file(directory + "/merges.txt");
    if (!file) {
        throw std::runtime_error("cannot read " + directory + "/merges.txt");
    }
    std::set<std::string> merged;
    for (std::string line; std::getline(file, line);) {
        if (!line.empty() && line.back() == '\r') {
            line.pop_back();
        }
        if (line.empty() || line.compare(0, 8, "#version") == 0) {
            continue;
        }
        tables.merges.push_back(read_merge(line));
        merged.insert(tables.merges.back().first + tables.merges.back().second);
    }
    tables.split_digits = true;
    for (const auto& [token, id] : tables.vocabulary) {
        const bool bracketed = token.size() > 2 && token.front() == '<' && token.back() == '>';
        if (bracketed && merged.count(token) == 0) {
            tables.special[token] = id;
        }
        const bool digits = token.find_first_not_of("0123456789") == std::string::npos;
        if (token.size() > 1 && digits) {
            tables.split_digits = false;
        }
    }
    return tables;
}

/// The steps of a pre-tokenizer or decoder, one or a list of them.
std::vector<Value> steps(const Value& component, const char* list) {
    if (component.is_null()) {
        return {};
    }
    return component["type"].string() == "Sequence" ? component[list].array()
                                                    : std::vector<Value>{component};
}

BpeTables read_tokenizer_json(const std::string& path) {
    const Value file = json::parse_file(path);
    const Value& model = file["model"];
    BpeTables tables;
    bool byte_level = false;
    for (const Value& step : steps(file["pre_tokenizer"], "pretokenizers")) {
        const std::string& type = step["type"].string();
        if (type == "Digits") {
            tables.split_digits = step["individual_digits"].boolean();
        } else if (type == "ByteLevel") {
            byte_level = true;
        } else {
            throw std::runtime_error("pre_tokenizer \"" + type + "\" is not known here");
        }
    }
    if (!byte_level || model["type"].string() != "BPE") {
        throw std::runtime_error("only byte-level BPE is known here");
    }
    tables.vocabulary = read_vocabulary(model["vocab"]);
    for (const Value& merge : model["merges"].array()) {
        tables.merges.push_back(
            merge.is_array() ? std::pair(merge.array().at(0).string(), merge.array().at(1).string())
                             : read_merge(merge.string()));
    }
    tables.ignore_merges = !model["ignore_merges"].is_null() && model["ignore_merges"].boolean();
    for (const Value& added : file["added_tokens"].array()) {
        tables.special[added["content"].string()] = static_cast<int>(added["id"].number());
    }
    return tables;
}

std::unique_ptr<Tokenizer> read_files(const std::string& directory, const Config& config) {
    const std::string combined = directory + "/tokenizer.json";
    try {
        if (exists(combined)) {
            return std::make_unique<BpeTokenizer>(read_tokenizer_json(combined));
        }
    } catch (const std::runtime_error& e) {
        throw std::runtime_error(combined + ": " + e.what());
    }
    if (exists(directory + "/vocab.json")) {
        return std::make_unique<BpeTokenizer>(read_vocab_and_merges(directory));
    }
    if (config.vocab_size >= 256 && config.vocab_size <= 260) {
        return std::make_unique<ByteTokenizer>();
    }
    throw std::runtime_error(directory + ": no tokenizer.json, and no vocab.json with merges.txt");
}

} // namespace

std::unique_ptr<Tokenizer> open_tokenizer(const std::string& directory, const Config& config) {
    std::unique_ptr<Tokenizer> tokenizer = read_files(directory, config);
    const std::string settings = directory + "/tokenizer_config.json";
    if (exists(settings)) {
        const Value add_bos = json::parse_file(settings)["add_bos_token"];
        if (!add_bos.is_null() && add_bos.boolean()) {
            tokenizer->bos = config.bos_token;
        }
    }
    return tokenizer;
}

} // namespace llama
