// 4-bit weights, and what is computed with them.
#ifndef FOURBIT_CPP_WEIGHT_HPP
#define FOURBIT_CPP_WEIGHT_HPP

#include <fourbit/cpp/quantizer.hpp>

namespace fourbit {

/// A named part of a weight; both members are borrowed from the weight.
struct weight_part {
    /// bitsandbytes' name: "" (the packed codes), "absmax", "quant_map", ...
    std::string_view name;
    /// Its bytes, read-only.
    const_view tensor;
};

/// A part to build a weight from.
struct named_part {
    /// A name that weight_part has, or a full tensor name ("model.x.weight.absmax").
    std::string name;
    /// Its bytes.
    const_view tensor;
};

namespace detail {

/// Gives a DLManagedTensorVersioned up.
struct dlpack_deleter {
    template <class Managed> void operator()(Managed* managed) const noexcept {
        if (managed->deleter != nullptr) {
            managed->deleter(managed);
        }
    }
};

} // namespace detail

/// A 4-bit weight: packed codes and quant state. Immutable; any number of threads may use one at
/// once.
class weight : public detail::handle<fourbit_weight, fourbit_weight_destroy> {
  public:
    /// Takes a C handle over.
    explicit weight(fourbit_weight* owned) noexcept : handle(owned) {}

    /// Builds a weight from its parts, in any order. The bytes are copied; every part is checked
    /// against the quant state.
    static weight from_parts(const context& on, const std::vector<named_part>& parts) {
        std::vector<const char*> names;
        std::vector<fourbit_tensor> tensors;
        for (const named_part& part : parts) {
            names.push_back(part.name.c_str());
            tensors.push_back(part.tensor.c());
        }
        return weight(detail::make<fourbit_weight>(fourbit_weight_from_parts, on.c(), names.data(),
                                                   tensors.data(), parts.size()));
    }

    /// Reads what serialize() gave. The bytes are copied.
    static weight deserialize(const context& on, const std::uint8_t* bytes, std::size_t size) {
        return weight(
            detail::make<fourbit_weight>(fourbit_weight_deserialize, on.c(), bytes, size));
    }
    /// As above, for all bytes of a vector.
    static weight deserialize(const context& on, const std::vector<std::uint8_t>& bytes) {
        return deserialize(on, bytes.data(), bytes.size());
    }

    /// The weight as one safetensors image: its parts named "weight", "weight.absmax", ...
    std::vector<std::uint8_t> serialize() const {
        std::size_t size = 0;
        check(fourbit_weight_serialize(c(), nullptr, 0, &size));
        std::vector<std::uint8_t> bytes(size);
        check(fourbit_weight_serialize(c(), bytes.data(), bytes.size(), &size));
        return bytes;
    }

    /// Type, block size, dtypes, shape, bytes.
    fourbit_weight_info info() const {
        auto out = sized<fourbit_weight_info>();
        check(fourbit_weight_query(c(), &out));
        return out;
    }

    /// The original shape: [out, in] for a linear layer.
    fourbit::shape shape() const {
        const fourbit_weight_info known = info();
        return fourbit::shape(known.shape, static_cast<std::size_t>(known.ndim));
    }

    /// The number of parts: 4, or 6 with double quantization.
    std::size_t part_count() const {
        std::size_t out = 0;
        check(fourbit_weight_part_count(c(), &out));
        return out;
    }

    /// Part `index`, borrowed from this weight.
    weight_part part(std::size_t index) const {
        const char* name = nullptr;
        fourbit_tensor tensor{};
        check(fourbit_weight_part(c(), index, &name, &tensor));
        return weight_part{name, const_view(tensor)};
    }

    /// The same weight on the context's device. On the same device bytes are shared, not copied.
    weight copy_to(const context& on) const {
        return weight(detail::make<fourbit_weight>(fourbit_weight_copy_to, c(), on.c()));
    }

    /// Matrix `index` of a weight of three dimensions (fused experts) as a weight of its own, which
    /// shares the codes and may outlive this one. Where it is [in, out], multiply with `transpose`.
    weight expert(std::uint64_t index) const {
        return weight(detail::make<fourbit_weight>(fourbit_weight_expert, c(), index));
    }

    /// Part `index` as a read-only DLPack tensor without a copy; it lives on after the weight.
    /// dlpack.h must be included where this is called.
    template <class Managed = DLManagedTensorVersioned>
    std::unique_ptr<Managed, detail::dlpack_deleter> to_dlpack(std::uint32_t index) const {
        return std::unique_ptr<Managed, detail::dlpack_deleter>(
            detail::make<Managed>(fourbit_weight_to_dlpack, c(), index));
    }
};

/// Quantizes a float32, float16 or bfloat16 tensor of any shape and strides. The weight owns its
/// bytes.
inline weight quantize(const quantizer& with, const const_view& source) {
    const fourbit_tensor tensor = source.c();
    return weight(detail::make<fourbit_weight>(fourbit_quantize, with.c(), &tensor));
}

/// Decodes a weight into a tensor of its shape, of any float dtype and strides.
inline void dequantize(const context& on, const weight& source, const view& destination) {
    const fourbit_tensor tensor = destination.c();
    check(fourbit_dequantize(on.c(), source.c(), &tensor));
}

/// How far a weight is from a source of its shape.
inline fourbit_quant_error measure(const context& on, const const_view& source,
                                   const weight& quantized) {
    const fourbit_tensor tensor = source.c();
    auto out = sized<fourbit_quant_error>();
    check(fourbit_quant_measure(on.c(), &tensor, quantized.c(), &out));
    return out;
}

/// How to multiply. The default: output = input · Wᵀ.
struct gemm_options {
    /// output = input · W: the gradient with respect to the input.
    bool transpose = false;
    /// Add to what the output holds.
    bool accumulate = false;
    /// Exact float32 products for every batch size.
    bool exact = false;

    /// The C struct.
    fourbit_gemm_config c() const noexcept {
        auto config = sized<fourbit_gemm_config>();
        config.flags = (transpose ? FOURBIT_GEMM_TRANSPOSE : 0U) |
                       (accumulate ? FOURBIT_GEMM_ACCUMULATE : 0U) |
                       (exact ? FOURBIT_GEMM_EXACT : 0U);
        return config;
    }
};

/// Multiplies by a weight of shape [n, k]: output[..., n] = input[..., k] · Wᵀ; with
/// `transpose`, output[..., k] = input[..., n] · W. Input and output are float32, float16 or
/// bfloat16, independently, and must not overlap; sums are in float32. The same bits come out for
/// any number of threads.
inline void gemm(const context& on, const const_view& input, const weight& by, const view& output,
                 const gemm_options& options = {}) {
    const fourbit_tensor from = input.c();
    const fourbit_tensor to = output.c();
    const fourbit_gemm_config config = options.c();
    check(fourbit_gemm(on.c(), &from, by.c(), nullptr, &config, &to));
}

/// As above, plus bias[n] (with `transpose`, bias[k]) on every row.
inline void gemm(const context& on, const const_view& input, const weight& by,
                 const const_view& bias, const view& output, const gemm_options& options = {}) {
    const fourbit_tensor from = input.c();
    const fourbit_tensor added = bias.c();
    const fourbit_tensor to = output.c();
    const fourbit_gemm_config config = options.c();
    check(fourbit_gemm(on.c(), &from, by.c(), &added, &config, &to));
}

/// One product per expert over consecutive rows: rows offsets[e] to offsets[e + 1] of `input` go
/// through experts[e]. `offsets` ascends from 0 to the number of rows and has one value more than
/// there are experts; all experts have one shape.
inline void grouped_gemm(const context& on, const const_view& input,
                         const std::vector<std::int64_t>& offsets,
                         const std::vector<const weight*>& experts, const view& output,
                         const gemm_options& options = {}) {
    if (offsets.size() != experts.size() + 1) {
        throw error(FOURBIT_STATUS_INVALID_ARGUMENT,
                    std::to_string(offsets.size()) + " offsets for " +
                        std::to_string(experts.size()) + " experts, expected one more");
    }
    std::vector<const fourbit_weight*> handles;
    for (const weight* expert : experts) {
        handles.push_back(expert ? expert->c() : nullptr);
    }
    const fourbit_tensor from = input.c();
    const fourbit_tensor to = output.c();
    const fourbit_gemm_config config = options.c();
    check(fourbit_grouped_gemm(on.c(), &from, offsets.data(), handles.data(), handles.size(),
                               &config, &to));
}

} // namespace fourbit

#endif // FOURBIT_CPP_WEIGHT_HPP
