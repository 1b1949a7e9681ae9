#include "config.hpp"

#include "json.hpp"

#include <stdexcept>

namespace llama {

namespace {

using json::Value;

constexpr double kMaxSize = 1 << 28; // no size of a model comes near

std::size_t size_field(const Value& config, const char* name, std::size_t fallback = 0) {
    const Value& field = config[name];
    if (field.is_null() && fallback != 0) {
        return fallback;
    }
    const double value = field.is_number() ? field.number() : 0;
    const auto size = static_cast<std::size_t>(value >= 1 && value <= kMaxSize ? value : 0);
    if (size == 0 || static_cast<double>(size) != value) {
        throw std::runtime_error(std::string("config.json: ") + name +
                                 " is missing or no positive integer");
    }
    return size;
}

double number_field(const Value& object, const char* name, double fallback) {
    const Value& field = object[name];
    if (field.is_null()) {
        return fallback;
    }
    if (!field.is_number()) {
        throw std::runtime_error(std::string("config.json: ") + name + " is not a number");
    }
    return field.number();
}

bool bool_field(const Value& object, const char* name, bool fallback) {
    return object[name].is_null() ? fallback : object[name].boolean();
}

void require_string(const Value& config, const char* name, const std::string& expected) {
    const Value& field = config[name];
    if (field.is_string() && field.string() == expected) {
        return;
    }
    throw std::runtime_error(std::string("config.json: ") + name + " is " +
                             (field.is_string() ? "\"" + field.string() + "\"" : "missing") +
                             ", this example runs \"" + expected + "\"");
}

/// Newer files have all of it in rope_parameters, older ones in rope_theta and rope_scaling.
void read_rope(const Value& file, Config& config) {
    config.rope_theta = number_field(file, "rope_theta", config.rope_theta);
    const Value& newer = file["rope_parameters"];
    const Value& rope = newer.is_null() ? file["rope_scaling"] : newer;
    if (rope.is_null()) {
        return;
    }
    config.rope_theta = number_field(rope, "rope_theta", config.rope_theta);
    const Value& type = rope["rope_type"].is_null() ? rope["type"] : rope["rope_type"];
    const std::string kind = type.is_null() ? "default" : type.string();
    RopeScaling& scaling = config.rope_scaling;
    if (kind == "default") {
        return;
    }
    if (kind == "linear") {
        scaling.kind = RopeScaling::Kind::linear;
    } else if (kind == "llama3") {
        scaling.kind = RopeScaling::Kind::llama3;
    } else {
        throw std::runtime_error("config.json: rope_type \"" + kind +
                                 "\", this example has default, linear and llama3");
    }
    scaling.factor = number_field(rope, "factor", 1);
    scaling.low_freq_factor = number_field(rope, "low_freq_factor", 1);
    scaling.high_freq_factor = number_field(rope, "high_freq_factor", 4);
    scaling.original_context = number_field(rope, "original_max_position_embeddings",
                                            static_cast<double>(config.max_position));
}

/// One number or a list of them.
std::vector<int> read_tokens(const Value& field) {
    std::vector<int> tokens;
    if (field.is_number()) {
        tokens.push_back(static_cast<int>(field.number()));
    }
    if (field.is_array()) {
        for (const Value& item : field.array()) {
            tokens.push_back(static_cast<int>(item.number()));
        }
    }
    return tokens;
}

} // namespace

Config Config::parse(const std::string& text) {
    const Value file = json::parse(text);
    require_string(file, "model_type", "llama");
    require_string(file, "hidden_act", "silu");
    Config config;
    config.vocab_size = size_field(file, "vocab_size");
    config.hidden_size = size_field(file, "hidden_size");
    config.intermediate_size = size_field(file, "intermediate_size");
    config.layers = size_field(file, "num_hidden_layers");
    config.heads = size_field(file, "num_attention_heads");
    config.kv_heads = size_field(file, "num_key_value_heads", config.heads);
    config.head_dim = size_field(file, "head_dim", config.hidden_size / config.heads);
    config.max_position = size_field(file, "max_position_embeddings", 2048);
    config.rms_norm_eps = static_cast<float>(number_field(file, "rms_norm_eps", 1e-6));
    config.tied_embeddings = bool_field(file, "tie_word_embeddings", false);
    config.bos_token = static_cast<int>(number_field(file, "bos_token_id", 0));
    config.eos_tokens = read_tokens(file["eos_token_id"]);
    read_rope(file, config);
    if (config.heads % config.kv_heads != 0 || config.head_dim % 2 != 0) {
        throw std::runtime_error("config.json: num_attention_heads must be a multiple of "
                                 "num_key_value_heads, and head_dim even");
    }
    return config;
}

} // namespace llama
