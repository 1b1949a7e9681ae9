// Callables as the library's threads and as its log.
#include "check.hpp"

#include <atomic>
#include <stdexcept>
#include <thread>

namespace {

/// Threads made anew for every loop: slow, and right.
struct FreshThreads {
    std::atomic<int> loops{0};

    void operator()(std::size_t count, const fourbit::task& task) {
        ++loops;
        std::vector<std::thread> threads;
        for (std::size_t t = 0; t < 3; ++t) {
            threads.emplace_back([=] {
                for (std::size_t i = t; i < count; i += 3) {
                    task(i);
                }
            });
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
    }
};

std::vector<float> product(const fourbit::context& on) {
    const fourbit::weight weight =
        fourbit::quantize(fourbit::quantizer(on), {numbers(300 * 500), {300, 500}});
    std::vector<float> y(4 * 300);
    fourbit::gemm(on, {numbers(4 * 500, 2), {4, 500}}, weight, {y, {4, 300}});
    return y;
}

void loops() {
    FreshThreads threads;
    fourbit::context_options options;
    options.threads = 3;
    const fourbit::context with_loop(options.parallel_for_with(threads));
    CHECK(with_loop.threads() == 3);
    CHECK(product(with_loop) == product(fourbit::context({{}, 1})));
    CHECK(threads.loops > 0);

    int calls = 0;
    const auto serial = [&calls](std::size_t count, const fourbit::task& task) {
        ++calls;
        for (std::size_t i = 0; i < count; ++i) {
            task(i);
        }
    };
    const fourbit::context with_lambda(fourbit::context_options(options).parallel_for_with(serial));
    CHECK(product(with_lambda) == product(with_loop) && calls > 0);
}

// Replaced functions are destroyed; what one throws goes nowhere.
void messages() {
    const auto owned = std::make_shared<int>(0);
    fourbit::set_log(
        [owned](fourbit_log_level, std::string_view) { throw std::runtime_error("no"); },
        FOURBIT_LOG_LEVEL_DEBUG);
    CHECK(owned.use_count() == 2);
    const fourbit::context on;
    fourbit::set_log({}, FOURBIT_LOG_LEVEL_OFF);
    CHECK(owned.use_count() == 1);
}

void heard_messages() {
    std::vector<std::string> heard;
    fourbit::set_log(
        [&heard](fourbit_log_level level, std::string_view text) {
            CHECK(level == FOURBIT_LOG_LEVEL_INFO);
            heard.emplace_back(text);
        },
        FOURBIT_LOG_LEVEL_INFO);
    const fourbit::context on(fourbit::context_options{{}, 1});
    fourbit::set_log({}, FOURBIT_LOG_LEVEL_OFF);
    const fourbit::context unheard;
    CHECK(heard.size() == 1 && heard[0].find("1 threads") != std::string::npos);
}

} // namespace

int main() {
    return run([] {
        loops();
        messages();
        heard_messages();
    });
}
