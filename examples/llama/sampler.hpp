// Chooses the next token.
#ifndef LLAMA_SAMPLER_HPP
#define LLAMA_SAMPLER_HPP

#include <cstdint>
#include <random>
#include <vector>

namespace llama {

class Sampler {
  public:
    /// Temperature 0 takes the likeliest token; otherwise one is drawn from the likeliest ones that
    /// together have probability `top_p`. The same seed draws the same tokens.
    Sampler(float temperature, float top_p, std::uint64_t seed);

    int choose(const std::vector<float>& logits);

  private:
    float temperature_;
    float top_p_;
    std::mt19937_64 random_;
    std::vector<float> probabilities_;
    std::vector<int> order_;
};

} // namespace llama

#endif
