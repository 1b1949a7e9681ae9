// What config.json says about a Llama.
#ifndef LLAMA_CONFIG_HPP
#define LLAMA_CONFIG_HPP

#include <cstddef>
#include <string>
#include <vector>

namespace llama {

/// How rotary frequencies are stretched for long contexts.
struct RopeScaling {
    enum class Kind { none, linear, llama3 } kind = Kind::none;
    double factor = 1;
    double low_freq_factor = 1;
    double high_freq_factor = 4;
    double original_context = 8192;
};

struct Config {
    std::size_t vocab_size = 0;
    std::size_t hidden_size = 0;
    std::size_t intermediate_size = 0;
    std::size_t layers = 0;
    std::size_t heads = 0;
    std::size_t kv_heads = 0;
    std::size_t head_dim = 0;
    std::size_t max_position = 0;
    float rms_norm_eps = 0;
    double rope_theta = 10000;
    RopeScaling rope_scaling{};
    bool tied_embeddings = false;
    int bos_token = 0;
    /// Tokens that end a text.
    std::vector<int> eos_tokens{};

    std::size_t query_size() const { return heads * head_dim; }
    std::size_t kv_size() const { return kv_heads * head_dim; }

    /// Reads a config.json. Throws std::runtime_error, naming the field, for what is missing or not
    /// supported.
    static Config parse(const std::string& text);
};

} // namespace llama

#endif
