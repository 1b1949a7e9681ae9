// The small operations between the matrix products, in float32.
#ifndef LLAMA_OPS_HPP
#define LLAMA_OPS_HPP

#include "config.hpp"

#include <vector>

namespace llama {

/// output[i] = weight[i] · x[i] / sqrt(mean(x²) + eps).
void rms_norm(const float* x, const std::vector<float>& weight, float eps, float* output);

/// x[i] += y[i].
void add(float* x, const float* y, std::size_t count);

/// gate[i] = silu(gate[i]) · up[i].
void silu_multiply(float* gate, const float* up, std::size_t count);

/// output[i] = x · rows[i], for `count` rows of `width`.
void dots(const float* x, const float* rows, std::size_t count, std::size_t width, float* output);

/// scores[i] = e^(scores[i] - largest); returns their sum.
float exp_shifted(float* scores, std::size_t count);

/// output[d] = Σ_i factors[i] · rows[i * width + d].
void weighted_sum(const float* factors, const float* rows, std::size_t count, std::size_t width,
                  float* output);

/// Rotary position embedding: pairs (x[i], x[i + head_dim/2]) are turned by position ·
/// frequency[i].
class Rope {
  public:
    explicit Rope(const Config& config);

    /// Prepares for `count` positions from `first` on.
    void set_positions(std::size_t first, std::size_t count);
    /// Turns one head of the row-th of these positions.
    void rotate(float* head, std::size_t row) const;

  private:
    std::vector<float> frequencies_;
    std::vector<float> cosines_;
    std::vector<float> sines_;
};

} // namespace llama

#endif
