// The keys and values of the positions seen so far.
#ifndef LLAMA_KV_CACHE_HPP
#define LLAMA_KV_CACHE_HPP

#include "config.hpp"

#include <vector>

namespace llama {

/// Float32, [layer][key-value head][position][head_dim], so that a head's positions lie in a row.
class KvCache {
  public:
    KvCache(const Config& config, std::size_t capacity)
        : heads_(config.kv_heads), head_dim_(config.head_dim), capacity_(capacity),
          keys_(config.layers * heads_ * capacity * head_dim_), values_(keys_.size()) {}

    /// Positions that are filled.
    std::size_t length() const { return length_; }
    /// Positions that fit.
    std::size_t capacity() const { return capacity_; }
    /// Says that positions below `length` are filled; fewer than before forgets the last ones.
    void set_length(std::size_t length) { length_ = length; }

    /// A head's keys from a position on.
    float* key(std::size_t layer, std::size_t head, std::size_t position) {
        return keys_.data() + offset(layer, head, position);
    }
    /// A head's values from a position on.
    float* value(std::size_t layer, std::size_t head, std::size_t position) {
        return values_.data() + offset(layer, head, position);
    }

  private:
    std::size_t offset(std::size_t layer, std::size_t head, std::size_t position) const {
        return ((layer * heads_ + head) * capacity_ + position) * head_dim_;
    }

    std::size_t heads_;
    std::size_t head_dim_;
    std::size_t capacity_;
    std::size_t length_ = 0;
    std::vector<float> keys_;
    std::vector<float> values_;
};

} // namespace llama

#endif
