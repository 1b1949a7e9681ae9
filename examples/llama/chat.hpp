// SmolLM2's chat template (ChatML).
#ifndef LLAMA_CHAT_HPP
#define LLAMA_CHAT_HPP

#include "tokenizer.hpp"

namespace llama {

/// The tokens of a question, ready for the model to answer. The first one of a chat carries the
/// system message (`system`, or SmolLM2's own); a later one first ends the answer before it. Throws
/// if the tokenizer lacks the template's special tokens.
std::vector<int> chat_turn(const Tokenizer& tokenizer, const std::string& system,
                           const std::string& question, bool first);

/// The tokens that end an answer.
std::vector<int> chat_stops(const Tokenizer& tokenizer);

} // namespace llama

#endif
