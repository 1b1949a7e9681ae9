// A quantizer: a validated 4-bit configuration on a context.
#ifndef FOURBIT_CPP_QUANTIZER_HPP
#define FOURBIT_CPP_QUANTIZER_HPP

#include <fourbit/cpp/context.hpp>

namespace fourbit {

/// How to quantize. The defaults: NF4, block size 64, no double quantization, uint8 storage.
struct quant_options {
    /// The codebook.
    fourbit_quant_type quant_type = FOURBIT_QUANT_TYPE_NF4;
    /// Elements per absmax: 32, 64, ..., 4096.
    std::uint32_t block_size = 64;
    /// Quantize the absmax values to 8 bits.
    bool double_quant = false;
    /// Whose codes to give where bitsandbytes' CPU and CUDA code differ.
    fourbit_quant_rule rule = FOURBIT_QUANT_RULE_DEFAULT;
    /// bnb_4bit_compute_dtype of configurations that are written.
    dtype compute_dtype = bfloat16;
    /// The dtype that packed bytes are labelled with.
    dtype storage = uint8;
    /// llm_int8_enable_fp32_cpu_offload of configurations that are written.
    bool fp32_cpu_offload = false;
    /// llm_int8_skip_modules; without a value, transformers' own choice.
    std::optional<std::vector<std::string>> skip_modules{};
};

/// A validated 4-bit configuration on a context. Any number of threads may use one at once.
class quantizer : public detail::handle<fourbit_quantizer, fourbit_quantizer_destroy> {
  public:
    /// Throws if an option is out of its range.
    explicit quantizer(const context& on, const quant_options& options = {})
        : handle(create(on, options)) {}

    /// Takes a C handle over.
    explicit quantizer(fourbit_quantizer* owned) noexcept : handle(owned) {}

    /// Reads config.json's quantization_config, with transformers' defaults for what it leaves out
    /// (FP4, no double quantization). Throws if a field is unknown in kind or out of its range.
    static quantizer from_json(const context& on, std::string_view json) {
        return quantizer(detail::make<fourbit_quantizer>(fourbit_quantizer_from_json, on.c(),
                                                         json.data(), json.size()));
    }

    /// The configuration as transformers writes it.
    std::string to_json() const {
        return detail::text([this](char* buffer, std::size_t capacity, std::size_t* length) {
            return fourbit_quantizer_to_json(c(), buffer, capacity, length);
        });
    }

    /// What it is: every option in force, and bits per element.
    fourbit_quantizer_info info() const {
        auto out = sized<fourbit_quantizer_info>();
        check(fourbit_quantizer_query(c(), &out));
        return out;
    }

    /// The bytes of a quantized weight's parts other than the quant state's text.
    std::uint64_t bytes_for(std::uint64_t element_count) const {
        std::uint64_t out = 0;
        check(fourbit_quant_sizes(c(), element_count, &out));
        return out;
    }

  private:
    static fourbit_quantizer* create(const context& on, const quant_options& options) {
        auto config = sized<fourbit_quant_config>();
        config.quant_type = options.quant_type;
        config.block_size = options.block_size;
        config.double_quant = options.double_quant ? 1 : 0;
        config.rule = options.rule;
        config.compute_dtype = options.compute_dtype;
        config.storage = options.storage;
        config.fp32_cpu_offload = options.fp32_cpu_offload ? 1 : 0;
        const detail::c_strings names(options.skip_modules);
        config.skip_modules = names.data();
        config.skip_module_count = names.size();
        return detail::make<fourbit_quantizer>(fourbit_quantizer_create, on.c(), &config);
    }
};

} // namespace fourbit

#endif // FOURBIT_CPP_QUANTIZER_HPP
