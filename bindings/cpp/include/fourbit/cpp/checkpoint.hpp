// Checkpoints: directories of .safetensors files, opened and mapped.
#ifndef FOURBIT_CPP_CHECKPOINT_HPP
#define FOURBIT_CPP_CHECKPOINT_HPP

#include <fourbit/cpp/weight.hpp>

namespace fourbit {

/// One entry of a checkpoint.
struct checkpoint_entry {
    /// Borrowed from the checkpoint.
    std::string_view name;
    /// A quantized weight, its statistics included, rather than a plain tensor.
    bool is_weight;
    /// The element type; of a weight, that of the packed bytes.
    fourbit::dtype dtype;
    /// The stored shape; of a weight, that of the packed bytes.
    fourbit::shape shape;
    /// Bytes stored.
    std::uint64_t byte_size;
};

/// An open checkpoint: its headers are checked, its data mapped. Any number of threads may use one
/// at once. The files must not change meanwhile.
class checkpoint : public detail::handle<fourbit_checkpoint, fourbit_checkpoint_destroy> {
  public:
    /// Opens a directory, an index file or one .safetensors file. `path` is UTF-8.
    explicit checkpoint(const std::string& path)
        : handle(detail::make<fourbit_checkpoint>(fourbit_checkpoint_open, path.c_str())) {}

    /// Takes a C handle over.
    explicit checkpoint(fourbit_checkpoint* owned) noexcept : handle(owned) {}

    /// The number of entries; a quantized weight is one.
    std::size_t size() const {
        std::size_t out = 0;
        check(fourbit_checkpoint_len(c(), &out));
        return out;
    }

    /// Describes entry `index`.
    checkpoint_entry entry(std::size_t index) const {
        auto out = sized<fourbit_checkpoint_entry>();
        check(fourbit_checkpoint_get(c(), index, &out));
        return checkpoint_entry{
            out.name, out.kind == FOURBIT_CHECKPOINT_ENTRY_KIND_WEIGHT, out.dtype,
            fourbit::shape(out.shape, static_cast<std::size_t>(out.ndim)), out.byte_size};
    }

    /// The index of the entry of that name, if there is one.
    std::optional<std::size_t> find(const std::string& name) const {
        return detail::found(
            [&](std::size_t* index) { return fourbit_checkpoint_find(c(), name.c_str(), index); });
    }

    /// A plain tensor's mapped bytes, read-only; valid as long as the checkpoint.
    const_view tensor(std::size_t index) const {
        fourbit_tensor out{};
        check(fourbit_checkpoint_tensor(c(), index, &out));
        return const_view(out);
    }

    /// A quantized weight on the context's device. On the CPU its bytes stay mapped and nothing is
    /// copied; it may outlive the checkpoint.
    fourbit::weight weight(const context& on, std::size_t index) const {
        return fourbit::weight(
            detail::make<fourbit_weight>(fourbit_checkpoint_weight, c(), on.c(), index));
    }

    /// The text of config.json. Throws if there is none.
    std::string config() const {
        return detail::text([this](char* buffer, std::size_t capacity, std::size_t* length) {
            return fourbit_checkpoint_config(c(), buffer, capacity, length);
        });
    }
};

} // namespace fourbit

#endif // FOURBIT_CPP_CHECKPOINT_HPP
