// The Llama itself: tokens in, logits out.
#ifndef LLAMA_MODEL_HPP
#define LLAMA_MODEL_HPP

#include "kv_cache.hpp"
#include "ops.hpp"
#include "weights.hpp"

namespace llama {

/// Evaluates a model. Buffers are made once, for batches of up to kMaxBatch rows; evaluating a
/// token allocates nothing.
class Model {
  public:
    static constexpr std::size_t kMaxBatch = 256;

    /// Both must outlive the model.
    Model(const Weights& weights, Runtime& runtime);

    const Weights& weights() const { return weights_; }
    const Config& config() const { return weights_.config(); }

    /// Appends at most kMaxBatch tokens to the cache. Returns their hidden states
    /// [tokens, hidden_size], normalized for the head, valid until the next call. Throws if the
    /// cache is full or a token is not in the vocabulary.
    const float* forward(const std::vector<int>& tokens, KvCache& cache);

    /// output[m, vocab_size] = head · hidden.
    void logits(const float* hidden, std::size_t m, float* output);

  private:
    void attention(const Layer& layer, std::size_t index, std::size_t m, KvCache& cache);
    void store_keys_and_values(std::size_t layer, std::size_t m, KvCache& cache);
    void attend(std::size_t layer, std::size_t m, KvCache& cache);
    void mlp(const Layer& layer, std::size_t m);
    void normalize(const std::vector<float>& weight, std::size_t m);

    const Weights& weights_;
    Runtime& runtime_;
    Rope rope_;
    std::vector<float> hidden_; // the residual stream
    std::vector<float> normed_;
    std::vector<float> query_;
    std::vector<float> keys_values_; // all rows' keys, then all rows' values
    std::vector<float> attended_;
    std::vector<float> gate_up_; // likewise
    std::vector<float> output_;  // of a block, to be added to the residual stream
};

} // namespace llama

#endif
