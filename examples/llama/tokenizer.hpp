// Text to tokens and back, from the files that lie beside a checkpoint.
#ifndef LLAMA_TOKENIZER_HPP
#define LLAMA_TOKENIZER_HPP

#include "config.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace llama {

class Tokenizer {
  public:
    virtual ~Tokenizer() = default;

    /// The tokens of a text. The names of special tokens in it become those tokens.
    virtual std::vector<int> encode(const std::string& text) const = 0;

    /// The tokens of a text in which such names are only text.
    virtual std::vector<int> encode_plain(const std::string& text) const = 0;

    /// The bytes of a token; one token may hold only a part of a character. Nothing for a special
    /// token, or one that is not in the vocabulary.
    virtual std::string decode(int token) const = 0;

    /// The special token of that name.
    virtual std::optional<int> special(const std::string& name) const = 0;

    /// The token that a text starts with, where the model wants one.
    std::optional<int> bos;
};

/// Opens the tokenizer of a checkpoint directory: tokenizer.json or vocab.json and merges.txt
/// (byte-level BPE), or, for a vocabulary of 256 to 260 tokens without such files, one token per
/// byte. Throws std::runtime_error if there is none that this example knows.
std::unique_ptr<Tokenizer> open_tokenizer(const std::string& directory, const Config& config);

} // namespace llama

#endif
