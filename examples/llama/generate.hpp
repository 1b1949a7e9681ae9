// Continuing a text, with the time it took.
#ifndef LLAMA_GENERATE_HPP
#define LLAMA_GENERATE_HPP

#include "model.hpp"
#include "sampler.hpp"
#include "tokenizer.hpp"

#include <functional>

namespace llama {

/// What was done and how long it took.
struct Generation {
    std::vector<int> tokens;
    std::string text;
    std::size_t prompt_tokens = 0;
    double prompt_seconds = 0;
    double decode_seconds = 0;
    /// Tokens that were evaluated one by one: the first comes out of the prompt's evaluation.
    std::size_t decoded = 0;
    /// Seconds to read the bytes that decoding one token reads, and no more; 0: not measured.
    double read_seconds = 0;

    double prompt_speed() const;
    double decode_speed() const;
    /// Tokens per second if nothing took time but reading; 0: not measured.
    double read_speed() const;
};

struct Limits {
    std::size_t tokens;
    /// Generation stops at these, and does not return them.
    std::vector<int> stop;
};

/// A text that grows: prompts are appended to what there is, continuations generated.
class Session {
  public:
    Session(Model& model, const Tokenizer& tokenizer, Sampler& sampler, std::size_t context);

    /// Appends the prompt and generates. `on_text` gets the bytes of each token as it comes. Throws
    /// if the prompt does not fit the context.
    Generation run(const std::vector<int>& prompt, const Limits& limits,
                   const std::function<void(const std::string&)>& on_text);

  private:
    void evaluate_prompt(const std::vector<int>& prompt);

    Model& model_;
    const Tokenizer& tokenizer_;
    Sampler& sampler_;
    KvCache cache_;
    std::vector<float> logits_;
    std::vector<int> pending_; // chosen last, not evaluated yet
};

} // namespace llama

#endif
