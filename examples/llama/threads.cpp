#include "threads.hpp"

#include <algorithm>
#include <chrono>
#include <stdexcept>

namespace llama {

namespace {

constexpr std::uint64_t kLeft = 0xffffffff; // the lower half of a ticket
constexpr auto kSpin = std::chrono::microseconds(100);

/// Watches for a while: a thread that sleeps takes tens of microseconds to wake. Yields in between,
/// for where there are fewer processors than threads that want to run.
template <class Done> bool spin_until(Done done) {
    const auto end = std::chrono::steady_clock::now() + kSpin;
    do {
        for (int i = 0; i < 256; ++i) {
            if (done()) {
                return true;
            }
        }
        std::this_thread::yield();
    } while (std::chrono::steady_clock::now() < end);
    return false;
}

} // namespace

ThreadPool::ThreadPool(unsigned threads) {
    if (threads > 1024) {
        throw std::invalid_argument("at most 1024 threads");
    }
    if (threads == 0) {
        threads = std::max(1U, std::thread::hardware_concurrency());
    }
    for (unsigned i = 1; i < threads; ++i) {
        workers_.emplace_back([this] { worker(); });
    }
}

ThreadPool::~ThreadPool() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) {
        worker.join();
    }
}

void ThreadPool::run(std::size_t count, Call call, const void* data) noexcept {
    if (count < 2 || workers_.empty()) {
        for (std::size_t i = 0; i < count; ++i) {
            call(data, i);
        }
        return;
    }
    call_ = call;
    data_ = data;
    unfinished_.store(count, std::memory_order_relaxed);
    const std::uint64_t next_loop = (ticket_.load(std::memory_order_relaxed) | kLeft) + 1;
    ticket_.store(next_loop | count); // seq_cst: ordered before the look at the sleepers
    if (sleepers_ > 0) {
        const std::lock_guard<std::mutex> lock(mutex_);
        wake_.notify_all();
    }
    while (work_on_one()) {
    }
    // Whoever holds an index is at work on it, so this is short.
    while (!spin_until([this] { return unfinished_.load(std::memory_order_acquire) == 0; })) {
    }
}

/// Takes one index of the current loop and runs it; false if none is left.
bool ThreadPool::work_on_one() noexcept {
    std::uint64_t ticket = ticket_.load(std::memory_order_acquire);
    do {
        if ((ticket & kLeft) == 0) {
            return false;
        }
    } while (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel,
                                            std::memory_order_acquire));
    call_(data_, (ticket & kLeft) - 1);
    unfinished_.fetch_sub(1, std::memory_order_acq_rel);
    return true;
}

void ThreadPool::worker() {
    const auto wanted = [this] { return (ticket_ & kLeft) != 0 || stop_; };
    while (!stop_) {
        while (work_on_one()) {
        }
        if (spin_until(wanted)) {
            continue;
        }
        std::unique_lock<std::mutex> lock(mutex_);
        ++sleepers_;
        wake_.wait(lock, wanted);
        --sleepers_;
    }
}

} // namespace llama
