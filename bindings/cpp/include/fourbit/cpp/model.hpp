// Models: checkpoints loaded into memory as a plan says.
#ifndef FOURBIT_CPP_MODEL_HPP
#define FOURBIT_CPP_MODEL_HPP

#include <fourbit/cpp/convert.hpp>

namespace fourbit {

/// One entry of a model.
struct model_entry {
    /// Borrowed from the model.
    std::string_view name;
    /// A 4-bit weight rather than a plain tensor.
    bool is_weight;
    /// The element type; of a weight, that of what it was quantized from.
    fourbit::dtype dtype;
    /// The shape; of a weight, that of what it was quantized from.
    fourbit::shape shape;
    /// Bytes of the tensor, or of the weight's codes and statistics.
    std::uint64_t byte_size;
    /// "cpu" or "disk"; without a value if there is no device map.
    std::optional<std::string_view> device;
};

/// How to load. The default: no limit.
struct load_options {
    /// Bytes that weights and casts may take, what is mapped not counted; 0: no limit.
    std::uint64_t max_memory = 0;

    fourbit_load_config c() const noexcept {
        auto config = sized<fourbit_load_config>();
        config.max_memory = max_memory;
        return config;
    }
};

/// A checkpoint in memory, every tensor as its plan says. What is stored as it is wanted stays
/// mapped; what is planned on the disk is made whenever it is asked for. Any number of threads may
/// use one at once. It outlives quantizer, checkpoint and plan.
class model : public detail::handle<fourbit_model, fourbit_model_destroy> {
  public:
    /// Loads a checkpoint as a plan says.
    model(const quantizer& with, const checkpoint& source, const plan& by,
          const load_options& options = {}, const progress_function& on_progress = {})
        : handle(load(with, source, by.c(), options, on_progress)) {}

    /// Loads a checkpoint by the automatic plan; if it is quantized already, as it is stored.
    model(const quantizer& with, const checkpoint& source, const load_options& options = {},
          const progress_function& on_progress = {})
        : handle(load(with, source, nullptr, options, on_progress)) {}

    /// Takes a C handle over.
    explicit model(fourbit_model* owned) noexcept : handle(owned) {}

    /// The number of entries; a weight is one.
    std::size_t size() const {
        std::size_t out = 0;
        check(fourbit_model_len(c(), &out));
        return out;
    }

    /// Describes entry `index`.
    model_entry entry(std::size_t index) const {
        auto out = sized<fourbit_model_entry>();
        check(fourbit_model_get(c(), index, &out));
        return model_entry{
            out.name,      out.kind == FOURBIT_CHECKPOINT_ENTRY_KIND_WEIGHT,
            out.dtype,     fourbit::shape(out.shape, static_cast<std::size_t>(out.ndim)),
            out.byte_size, out.device ? std::optional<std::string_view>(out.device) : std::nullopt};
    }

    /// The index of the entry of that name, if there is one.
    std::optional<std::size_t> find(const std::string& name) const {
        return detail::found(
            [&](std::size_t* index) { return fourbit_model_find(c(), name.c_str(), index); });
    }

    /// A weight. It shares the model's bytes and may outlive the model.
    fourbit::weight weight(const std::string& name) const {
        return fourbit::weight(
            detail::make<fourbit_weight>(fourbit_model_weight, c(), name.c_str()));
    }

    /// A tensor in its planned type, read-only; valid as long as the model.
    const_view tensor(const std::string& name) const {
        fourbit_tensor out{};
        check(fourbit_model_tensor(c(), name.c_str(), &out));
        return const_view(out);
    }

    /// Copies a tensor, in its planned type, into memory of that type and shape, with any strides.
    void read(const std::string& name, const view& destination) const {
        const fourbit_tensor to = destination.c();
        check(fourbit_model_read(c(), name.c_str(), &to));
    }

  private:
    static fourbit_model* load(const quantizer& with, const checkpoint& source,
                               const fourbit_plan* by, const load_options& options,
                               const progress_function& on_progress) {
        const fourbit_load_config config = options.c();
        detail::progress_bridge bridge(on_progress);
        fourbit_model* out = nullptr;
        bridge.finish(
            fourbit_model_load(with.c(), source.c(), by, &config, bridge.c(), bridge.user(), &out));
        return out;
    }
};

} // namespace fourbit

#endif // FOURBIT_CPP_MODEL_HPP
