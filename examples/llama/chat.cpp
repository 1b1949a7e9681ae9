#include "chat.hpp"

#include <stdexcept>

namespace llama {

namespace {

const char* const kStart = "<|im_start|>";
const char* const kEnd = "<|im_end|>";
const char* const kSystem = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

int require(const Tokenizer& tokenizer, const char* name) {
    const std::optional<int> token = tokenizer.special(name);
    if (!token) {
        throw std::runtime_error(std::string("--chat: the tokenizer has no token ") + name);
    }
    return *token;
}

/// Text that is only text: a name of a special token in it does not become that token.
void append_text(const Tokenizer& tokenizer, const std::string& text, std::vector<int>& tokens) {
    const std::vector<int> more = tokenizer.encode_plain(text);
    tokens.insert(tokens.end(), more.begin(), more.end());
}

} // namespace

std::vector<int> chat_stops(const Tokenizer& tokenizer) { return {require(tokenizer, kEnd)}; }

std::vector<int> chat_turn(const Tokenizer& tokenizer, const std::string& system,
                           const std::string& question, bool first) {
    const int start = require(tokenizer, kStart);
    const int end = require(tokenizer, kEnd);
    std::vector<int> tokens;
    const auto message = [&](const std::string& text) {
        tokens.push_back(start);
        append_text(tokenizer, text, tokens);
        tokens.push_back(end);
        append_text(tokenizer, "\n", tokens);
    };
    if (first) {
        message("system\n" + (system.empty() ? kSystem : system));
    } else {
        tokens.push_back(end);
        append_text(tokenizer, "\n", tokens);
    }
    message("user\n" + question);
    tokens.push_back(start);
    append_text(tokenizer, "assistant\n", tokens);
    return tokens;
}

} // namespace llama
