#include "sampler.hpp"

#include "ops.hpp"

#include <algorithm>
#include <numeric>

namespace llama {

Sampler::Sampler(float temperature, float top_p, std::uint64_t seed)
    : temperature_(temperature), top_p_(top_p), random_(seed) {}

int Sampler::choose(const std::vector<float>& logits) {
    if (temperature_ <= 0) {
        return static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    }
    probabilities_ = logits;
    for (float& value : probabilities_) {
        value /= temperature_;
    }
    const float total = exp_shifted(probabilities_.data(), probabilities_.size());
    order_.resize(logits.size());
    std::iota(order_.begin(), order_.end(), 0);
    std::sort(order_.begin(), order_.end(), [this](int a, int b) {
        return probabilities_[static_cast<std::size_t>(a)] >
               probabilities_[static_cast<std::size_t>(b)];
    });
    // Not std::uniform_real_distribution: libraries differ in what they make of a seed.
    const float unit = static_cast<float>(random_() >> 40) * 0x1p-24f;
    float left = unit * std::min(top_p_, 1.0f) * total;
    for (const int token : order_) {
        left -= probabilities_[static_cast<std::size_t>(token)];
        if (left < 0) {
            return token;
        }
    }
    return order_.front();
}

} // namespace llama
