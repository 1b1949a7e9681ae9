// How surprised a model is by a text.
#ifndef LLAMA_PERPLEXITY_HPP
#define LLAMA_PERPLEXITY_HPP

#include "model.hpp"

namespace llama {

struct Perplexity {
    /// Tokens that were predicted.
    std::size_t scored = 0;
    /// The mean of -ln(probability) over them.
    double nats_per_token = 0;
    /// e to that power: the number of equally likely tokens that would surprise as much.
    double perplexity() const;
};

/// Slides a window of `context` tokens over the text. The first window scores all its tokens but
/// the first, every other one its last `stride`. Throws for fewer than two tokens or a stride of 0
/// or beyond the context.
Perplexity measure_perplexity(Model& model, const std::vector<int>& tokens, std::size_t context,
                              std::size_t stride);

} // namespace llama

#endif
