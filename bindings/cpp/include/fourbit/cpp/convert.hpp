// Whole checkpoints: quantized, dequantized, or put together tensor by tensor.
#ifndef FOURBIT_CPP_CONVERT_HPP
#define FOURBIT_CPP_CONVERT_HPP

#include <fourbit/cpp/plan.hpp>

#include <exception>

namespace fourbit {

/// Where a long operation is.
struct progress {
    /// Which of its passes.
    fourbit_phase phase;
    /// The tensor at work; valid during the call only.
    std::string_view tensor;
    /// Bytes of the source, over all phases.
    std::uint64_t bytes_done;
    /// What bytes_done comes to.
    std::uint64_t bytes_total;
};

/// Called now and then on the calling thread; `false` cancels, and the operation then throws
/// FOURBIT_STATUS_CANCELLED. What it throws cancels too, and comes out of the operation instead.
using progress_function = std::function<bool(const progress&)>;

/// How to write a checkpoint. The defaults: files of up to 5 GB, nothing is replaced.
struct save_options {
    /// Replace a checkpoint that stands in the output directory, once the new one is complete.
    bool force = false;
    /// Bytes of tensor data per file; 0: 5 GB.
    std::uint64_t max_shard_size = 0;
    /// Copy tokenizer and other files that lie beside the source's weights.
    bool side_files = true;

    /// The C struct.
    fourbit_save_config c() const noexcept {
        auto config = sized<fourbit_save_config>();
        config.force = force ? 1 : 0;
        config.max_shard_size = max_shard_size;
        config.no_side_files = side_files ? 0 : 1;
        return config;
    }
};

namespace detail {

/// Stands between a progress_function and C, and keeps what it throws.
class progress_bridge {
  public:
    explicit progress_bridge(const progress_function& function) : function_(&function) {}

    fourbit_progress_fn c() const noexcept { return *function_ ? &call : nullptr; }
    void* user() noexcept { return this; }

    /// After the operation: throws what the function threw, or what the operation says.
    void finish(fourbit_status status) const {
        if (thrown_) {
            std::rethrow_exception(thrown_);
        }
        check(status);
    }

  private:
    static std::int32_t call(void* user, const fourbit_progress* now) noexcept {
        auto& self = *static_cast<progress_bridge*>(user);
        try {
            const progress words{static_cast<fourbit_phase>(now->phase), now->tensor,
                                 now->bytes_done, now->bytes_total};
            return (*self.function_)(words) ? 0 : 1;
        } catch (...) {
            self.thrown_ = std::current_exception();
            return 1;
        }
    }

    const progress_function* function_;
    std::exception_ptr thrown_;
};

} // namespace detail

/// Quantizes a whole checkpoint into a directory, as a plan says, with config.json and the files
/// beside the weights. Memory does not grow with the checkpoint; files appear when all is written;
/// on failure nothing remains.
inline void quantize_checkpoint(const quantizer& with, const checkpoint& source, const plan& by,
                                const std::string& out_dir, const save_options& options = {},
                                const progress_function& on_progress = {}) {
    const fourbit_save_config config = options.c();
    detail::progress_bridge bridge(on_progress);
    bridge.finish(fourbit_quantize_checkpoint(with.c(), source.c(), by.c(), out_dir.c_str(),
                                              &config, bridge.c(), bridge.user()));
}

/// As above, by the automatic plan.
inline void quantize_checkpoint(const quantizer& with, const checkpoint& source,
                                const std::string& out_dir, const save_options& options = {},
                                const progress_function& on_progress = {}) {
    const fourbit_save_config config = options.c();
    detail::progress_bridge bridge(on_progress);
    bridge.finish(fourbit_quantize_checkpoint(with.c(), source.c(), nullptr, out_dir.c_str(),
                                              &config, bridge.c(), bridge.user()));
}

/// Turns a quantized checkpoint back into plain floats of a type (`dtype()`: every weight's own
/// original type); otherwise as quantize_checkpoint.
inline void dequantize_checkpoint(const context& on, const checkpoint& source, dtype to,
                                  const std::string& out_dir, const save_options& options = {},
                                  const progress_function& on_progress = {}) {
    const fourbit_save_config config = options.c();
    detail::progress_bridge bridge(on_progress);
    bridge.finish(fourbit_dequantize_checkpoint(on.c(), source.c(), to, out_dir.c_str(), &config,
                                                bridge.c(), bridge.user()));
}

/// A checkpoint being put together. Used by one thread at a time; unfinished, it writes nothing.
class writer : public detail::handle<fourbit_writer, fourbit_writer_destroy> {
  public:
    /// Starts a checkpoint that finish() will write to a directory.
    explicit writer(const std::string& out_dir, const save_options& options = {})
        : handle(create(out_dir, options)) {}

    /// Takes a C handle over.
    explicit writer(fourbit_writer* owned) noexcept : handle(owned) {}

    /// Adds a tensor; its elements are copied.
    void add(const std::string& name, const const_view& tensor) {
        const fourbit_tensor from = tensor.c();
        check(fourbit_writer_add_tensor(c(), name.c_str(), &from));
    }

    /// Adds a weight under the names bitsandbytes gives its parts.
    void add(const std::string& name, const weight& quantized) {
        check(fourbit_writer_add_weight(c(), name.c_str(), quantized.c()));
    }

    /// Sets a key of every file's metadata.
    void set_metadata(const std::string& key, const std::string& value) {
        check(fourbit_writer_set_metadata(c(), key.c_str(), value.c_str()));
    }

    /// Sets the text of config.json.
    void set_config(std::string_view text) {
        check(fourbit_writer_set_config(c(), text.data(), text.size()));
    }

    /// Writes everything. After success the writer can only be destroyed; after failure it may be
    /// finished again.
    void finish() { check(fourbit_writer_finish(c())); }

  private:
    static fourbit_writer* create(const std::string& out_dir, const save_options& options) {
        const fourbit_save_config config = options.c();
        return detail::make<fourbit_writer>(fourbit_writer_create, out_dir.c_str(), &config);
    }
};

} // namespace fourbit

#endif // FOURBIT_CPP_CONVERT_HPP
