// A context: one device, its threads, its stream. Also what concerns the whole process.
#ifndef FOURBIT_CPP_CONTEXT_HPP
#define FOURBIT_CPP_CONTEXT_HPP

#include <fourbit/cpp/tensor.hpp>

#include <functional>
#include <mutex>
#include <string_view>

namespace fourbit {

/// How a context is made. The defaults: the CPU, one thread per processor, own threads.
struct context_options {
    /// All zero: the CPU.
    fourbit_device device{};
    /// Threads that work on a call, the caller's included; 0: one per processor.
    std::uint32_t threads = 0;
    /// The best instruction set to use.
    fourbit_cpu_isa cpu_isa_max = FOURBIT_CPU_ISA_BEST;
    /// Runs the library's tasks on your threads; parallel_for_with() fills these two.
    fourbit_parallel_for_fn parallel_for = nullptr;
    /// First argument of `parallel_for`.
    void* parallel_for_user = nullptr;
    /// A CUstream; for CUDA contexts only.
    void* cuda_stream = nullptr;

    /// Runs the library's tasks through `loop(count, task)`, which must call `task(index)` once for
    /// every index below count, on any threads and in any order, and return when all have returned.
    /// `loop` is not copied: it must outlive everything made from the context, and be callable
    /// from any thread. An exception that leaves it ends the program, as tasks may still run then.
    template <class Loop> context_options& parallel_for_with(Loop& loop) noexcept;
};

/// One task of a loop that the library asks to run: see context_options::parallel_for_with.
class task {
  public:
    /// `run(data, index)` as a callable; the library makes these.
    task(void (*run)(void*, std::size_t), void* data) noexcept : run_(run), data_(data) {}
    /// Does the work of one index.
    void operator()(std::size_t index) const noexcept { run_(data_, index); }

  private:
    void (*run_)(void*, std::size_t);
    void* data_;
};

template <class Loop> context_options& context_options::parallel_for_with(Loop& loop) noexcept {
    parallel_for = [](void* user, std::size_t count, void (*run)(void*, std::size_t),
                      void* data) noexcept { (*static_cast<Loop*>(user))(count, task(run, data)); };
    parallel_for_user = const_cast<std::remove_const_t<Loop>*>(&loop);
    return *this;
}

/// One device and the threads that serve it. Any number of threads may use one at once. Objects
/// made from a context stay valid after it is gone.
class context : public detail::handle<fourbit_context, fourbit_context_destroy> {
  public:
    /// The CPU, with one thread per processor.
    context() : handle(detail::make<fourbit_context>(fourbit_context_create, nullptr)) {}

    /// As the options say.
    explicit context(const context_options& options) : handle(create(options)) {}

    /// Takes a C handle over.
    explicit context(fourbit_context* owned) noexcept : handle(owned) {}

    /// The device.
    fourbit_device device() const {
        fourbit_device out{};
        check(fourbit_context_query(c(), &out, nullptr));
        return out;
    }

    /// The number of threads that work on a call, the caller's included.
    std::uint32_t threads() const {
        std::uint32_t out = 0;
        check(fourbit_context_query(c(), nullptr, &out));
        return out;
    }

    /// Waits until everything enqueued is done. On the CPU every call is done when it returns.
    void synchronize() const { check(fourbit_context_synchronize(c())); }

  private:
    static fourbit_context* create(const context_options& options) {
        auto config = sized<fourbit_context_config>();
        config.num_threads = options.threads;
        config.device = options.device;
        config.cpu_isa_max = options.cpu_isa_max;
        config.parallel_for = options.parallel_for;
        config.parallel_for_user = options.parallel_for_user;
        config.cuda_stream = options.cuda_stream;
        return detail::make<fourbit_context>(fourbit_context_create, &config);
    }
};

/// Memory of a context's device, aligned to FOURBIT_ALIGNMENT. The context must outlive it.
class memory {
  public:
    /// `size` bytes, contents undefined.
    memory(const context& owner, std::size_t size)
        : owned_(allocate(owner, size), free{owner.c()}) {}

    /// The first byte.
    void* data() noexcept { return owned_.get(); }
    /// The first byte.
    const void* data() const noexcept { return owned_.get(); }

  private:
    struct free {
        const fourbit_context* owner;
        void operator()(void* bytes) const noexcept { fourbit_memory_free(owner, bytes); }
    };

    static void* allocate(const context& owner, std::size_t size) {
        return detail::make<void>(fourbit_memory_alloc, owner.c(), size);
    }

    std::unique_ptr<void, free> owned_;
};

/// Copies a tensor to another of the same shape and dtype; strides may differ. They must not
/// overlap.
inline void copy(const context& on, const const_view& source, const view& destination) {
    const fourbit_tensor from = source.c();
    const fourbit_tensor to = destination.c();
    check(fourbit_tensor_copy(on.c(), &from, &to));
}

/// The number of devices of a kind; 0 where there is no driver.
inline std::uint32_t device_count(fourbit_device_kind kind) {
    std::uint32_t count = 0;
    check(fourbit_device_count(kind, &count));
    return count;
}

/// Name, processors and memory of a device.
inline fourbit_device_info device_info(fourbit_device device) {
    auto info = sized<fourbit_device_info>();
    check(fourbit_device_query(device, &info));
    return info;
}

/// Receives messages of the library; may be called from several threads at once.
using log_function = std::function<void(fourbit_log_level level, std::string_view text)>;

/// Sends messages up to a level to `log`; an empty function turns logging off. One per process.
/// When this returns, the previous function is no longer running. What `log` throws is dropped.
inline void set_log(log_function log, fourbit_log_level max_level) {
    static std::mutex changing;
    static std::unique_ptr<log_function> current;
    const std::lock_guard<std::mutex> lock(changing);
    auto next = log ? std::make_unique<log_function>(std::move(log)) : nullptr;
    const auto deliver = [](void* user, std::uint32_t level, const char* text) noexcept {
        try {
            (*static_cast<log_function*>(user))(static_cast<fourbit_log_level>(level), text);
        } catch (...) { // There is nobody to tell.
        }
    };
    fourbit_log_fn function = deliver;
    check(fourbit_set_log(next ? function : nullptr, next.get(), max_level));
    current = std::move(next);
}

} // namespace fourbit

#endif // FOURBIT_CPP_CONTEXT_HPP
