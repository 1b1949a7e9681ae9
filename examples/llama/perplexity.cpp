#include "perplexity.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace llama {

namespace {

/// Rows whose logits are held at a time: a vocabulary is wide.
constexpr std::size_t kRows = 32;

/// -ln(probability) of one token. `logits` is overwritten.
double surprise(float* logits, std::size_t vocab_size, int token) {
    const float target = logits[token];
    const float largest = *std::max_element(logits, logits + vocab_size);
    const double total = exp_shifted(logits, vocab_size);
    return std::log(total) - static_cast<double>(target - largest);
}

} // namespace

double Perplexity::perplexity() const { return std::exp(nats_per_token); }

Perplexity measure_perplexity(Model& model, const std::vector<int>& tokens, std::size_t context,
                              std::size_t stride) {
    if (tokens.size() < 2) {
        throw std::runtime_error("the text has fewer than two tokens");
    }
    if (stride == 0 || stride > context) {
        throw std::runtime_error("the stride must be 1 to " + std::to_string(context) +
                                 ", the context");
    }
    const Config& c = model.config();
    KvCache cache(c, context);
    std::vector<float> logits(kRows * c.vocab_size);
    Perplexity result;
    double total = 0;
    for (std::size_t begin = 0, scored_to = 1; scored_to < tokens.size(); begin += stride) {
        const std::size_t end = std::min(begin + context, tokens.size());
        cache.set_length(0);
        for (std::size_t at = begin; at < end;) {
            const std::size_t count = std::min({kRows, Model::kMaxBatch, end - at});
            const std::vector<int> batch(tokens.data() + at, tokens.data() + at + count);
            const float* hidden = model.forward(batch, cache);
            // Row i predicts token at + i + 1.
            const std::size_t skip = scored_to > at + 1 ? scored_to - at - 1 : 0;
            const std::size_t last = std::min(count, end - at - 1);
            if (skip < last) {
                model.logits(hidden + skip * c.hidden_size, last - skip, logits.data());
                for (std::size_t i = skip; i < last; ++i) {
                    float* row = logits.data() + (i - skip) * c.vocab_size;
                    total += surprise(row, c.vocab_size, tokens[at + i + 1]);
                    ++result.scored;
                }
                scored_to = at + last + 1;
            }
            at += count;
        }
    }
    result.nats_per_token = total / static_cast<double>(result.scored);
    return result;
}

} // namespace llama
