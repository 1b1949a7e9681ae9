#include "model.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace llama {

Model::Model(const Weights& weights, Runtime& runtime)
    : weights_(weights), runtime_(runtime), rope_(weights.config()) {
    const Config& c = config();
    for (std::vector<float>* buffer : {&hidden_, &normed_, &output_}) {
        buffer->resize(kMaxBatch * c.hidden_size);
    }
    query_.resize(kMaxBatch * c.query_size());
    attended_.resize(kMaxBatch * c.query_size());
    keys_values_.resize(2 * kMaxBatch * c.kv_size());
    gate_up_.resize(2 * kMaxBatch * c.intermediate_size);
}

const float* Model::forward(const std::vector<int>& tokens, KvCache& cache) {
    const Config& c = config();
    const std::size_t m = tokens.size();
    if (m > kMaxBatch || cache.length() + m > cache.capacity()) {
        throw std::runtime_error("no room for " + std::to_string(m) + " tokens after " +
                                 std::to_string(cache.length()) + " of " +
                                 std::to_string(cache.capacity()) + " positions");
    }
    for (std::size_t i = 0; i < m; ++i) {
        if (tokens[i] < 0 || static_cast<std::size_t>(tokens[i]) >= c.vocab_size) {
            throw std::runtime_error("token " + std::to_string(tokens[i]) +
                                     " is not in the vocabulary of " +
                                     std::to_string(c.vocab_size));
        }
        weights_.embed(tokens[i], hidden_.data() + i * c.hidden_size);
    }
    rope_.set_positions(cache.length(), m);
    const std::vector<Layer>& layers = weights_.layers();
    for (std::size_t i = 0; i < layers.size(); ++i) {
        attention(layers[i], i, m, cache);
        mlp(layers[i], m);
    }
    cache.set_length(cache.length() + m);
    normalize(weights_.norm(), m);
    return normed_.data();
}

void Model::logits(const float* hidden, std::size_t m, float* output) {
    weights_.head().forward(runtime_, hidden, m, output);
}

/// normed = RMSNorm(hidden).
void Model::normalize(const std::vector<float>& weight, std::size_t m) {
    for (std::size_t i = 0; i < m; ++i) {
        const std::size_t row = i * weight.size();
        rms_norm(hidden_.data() + row, weight, config().rms_norm_eps, normed_.data() + row);
    }
}

void Model::attention(const Layer& layer, std::size_t index, std::size_t m, KvCache& cache) {
    normalize(layer.attention_norm, m);
    layer.query.forward(runtime_, normed_.data(), m, query_.data());
    Linear::forward_both(runtime_, layer.key, layer.value, normed_.data(), m, keys_values_.data());
    store_keys_and_values(index, m, cache);
    attend(index, m, cache);
    layer.attention_output.forward(runtime_, attended_.data(), m, output_.data());
    add(hidden_.data(), output_.data(), m * config().hidden_size);
}

/// Keys go into the cache turned to their positions.
void Model::store_keys_and_values(std::size_t layer, std::size_t m, KvCache& cache) {
    const Config& c = config();
    for (std::size_t row = 0; row < m; ++row) {
        for (std::size_t head = 0; head < c.kv_heads; ++head) {
            const std::size_t from = row * c.kv_size() + head * c.head_dim;
            const std::size_t position = cache.length() + row;
            float* key = keys_values_.data() + from;
            rope_.rotate(key, row);
            std::copy(key, key + c.head_dim, cache.key(layer, head, position));
            const float* value = keys_values_.data() + m * c.kv_size() + from;
            std::copy(value, value + c.head_dim, cache.value(layer, head, position));
        }
    }
}

/// Every row looks at all positions up to its own. Groups of query heads share a key-value head.
void Model::attend(std::size_t layer, std::size_t m, KvCache& cache) {
    const Config& c = config();
    const std::size_t heads_per_key = c.heads / c.kv_heads;
    const float scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim));
    runtime_.pool(m * c.heads, [&](std::size_t index) {
        const std::size_t row = index / c.heads;
        const std::size_t kv_head = index % c.heads / heads_per_key;
        const std::size_t positions = cache.length() + row + 1;
        float* query = query_.data() + index * c.head_dim;
        float* output = attended_.data() + index * c.head_dim;
        thread_local std::vector<float> scores;
        if (scores.size() < positions) {
            scores.resize(cache.capacity());
        }
        rope_.rotate(query, row);
        std::for_each(query, query + c.head_dim, [scale](float& x) { x *= scale; });
        dots(query, cache.key(layer, kv_head, 0), positions, c.head_dim, scores.data());
        const float total = exp_shifted(scores.data(), positions);
        weighted_sum(scores.data(), cache.value(layer, kv_head, 0), positions, c.head_dim, output);
        for (std::size_t d = 0; d < c.head_dim; ++d) {
            output[d] /= total;
        }
    });
}

void Model::mlp(const Layer& layer, std::size_t m) {
    normalize(layer.mlp_norm, m);
    const std::size_t count = m * config().intermediate_size;
    Linear::forward_both(runtime_, layer.gate, layer.up, normed_.data(), m, gate_up_.data());
    silu_multiply(gate_up_.data(), gate_up_.data() + count, count);
    layer.down.forward(runtime_, gate_up_.data(), m, output_.data());
    add(hidden_.data(), output_.data(), m * config().hidden_size);
}

} // namespace llama
