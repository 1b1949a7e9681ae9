// A small thread pool for short loops. One pool serves the example's own loops and, handed over as
// fourbit's parallel_for, those of the library: two pools would fight over the processors.
#ifndef LLAMA_THREADS_HPP
#define LLAMA_THREADS_HPP

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace llama {

class ThreadPool {
  public:
    /// `threads` threads, the caller's included; 0: one per processor.
    explicit ThreadPool(unsigned threads);
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    unsigned threads() const noexcept { return static_cast<unsigned>(workers_.size()) + 1; }

    /// Calls `task(index)` once for every index below `count` and returns when all have returned.
    /// One loop at a time; tasks must not throw. This is the form that fourbit calls.
    template <class Task> void operator()(std::size_t count, const Task& task) noexcept {
        const auto call = [](const void* data, std::size_t index) {
            (*static_cast<const Task*>(data))(index);
        };
        run(count, call, &task);
    }

  private:
    using Call = void (*)(const void*, std::size_t);

    void run(std::size_t count, Call call, const void* data) noexcept;
    bool work_on_one() noexcept;
    void worker();

    // The number of the loop in the upper half, what is left of it in the lower. Who lowers the
    // lower half by one owns that index, and may read the fields below: the loop cannot end before.
    std::atomic<std::uint64_t> ticket_{0};
    Call call_ = nullptr;
    const void* data_ = nullptr;
    std::atomic<std::size_t> unfinished_{0};

    std::mutex mutex_;
    std::condition_variable wake_;
    std::atomic<unsigned> sleepers_{0};
    std::atomic<bool> stop_{false};
    std::vector<std::thread> workers_;
};

} // namespace llama

#endif
