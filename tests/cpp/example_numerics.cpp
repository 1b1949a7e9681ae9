// The example engine's own arithmetic, against doubles: products with 16-bit and float32 matrices
// of any width, 16-bit values one by one, the small operations, the thread pool.
#include "check.hpp"

#include "../../examples/llama/dense.cpp"
#include "../../examples/llama/ops.cpp"
#include "../../examples/llama/threads.cpp"
#include "../c/halves.h"

#include <atomic>

namespace {

using llama::DenseMatrix;
using llama::Element;

void halves() {
    std::vector<std::uint16_t> all(65536);
    for (std::size_t i = 0; i < all.size(); ++i) {
        all[i] = static_cast<std::uint16_t>(i);
    }
    std::vector<float> f16(all.size());
    std::vector<float> bf16(all.size());
    llama::to_float({all.data(), Element::f16, 1, all.size()}, 0, all.size(), f16.data());
    llama::to_float({all.data(), Element::bf16, 1, all.size()}, 0, all.size(), bf16.data());
    const auto same = [](float found, double expected) {
        return std::isnan(expected) ? std::isnan(found) : double(found) == expected;
    };
    int wrong = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
        wrong += !same(f16[i], f16_value(all[i])) + !same(bf16[i], bf16_value(all[i]));
    }
    CHECK(wrong == 0);

    const std::vector<float> some = numbers(1000);
    std::vector<std::uint16_t> rounded(some.size());
    llama::to_bf16(some.data(), some.size(), rounded.data());
    for (std::size_t i = 0; i < some.size(); ++i) {
        wrong += rounded[i] != bf16_of(some[i]);
    }
    CHECK(wrong == 0);
}

/// A matrix of a type, and what it means.
struct Matrix {
    Matrix(Element element, std::size_t rows, std::size_t columns)
        : floats(numbers(rows * columns)), shorts(rows * columns), values(rows * columns) {
        for (std::size_t i = 0; i < values.size(); ++i) {
            const bool is_bf16 = element == Element::bf16;
            shorts[i] = is_bf16 ? bf16_of(floats[i]) : f16_of(floats[i]);
            values[i] = element == Element::f32 ? double(floats[i])
                        : is_bf16               ? bf16_value(shorts[i])
                                                : f16_value(shorts[i]);
        }
        const void* data =
            element == Element::f32 ? static_cast<const void*>(floats.data()) : shorts.data();
        dense = {data, element, rows, columns};
    }

    std::vector<float> floats;
    std::vector<std::uint16_t> shorts;
    std::vector<double> values;
    DenseMatrix dense;
};

void products() {
    llama::ThreadPool alone(1);
    llama::ThreadPool pool(3);
    for (const Element element : {Element::f32, Element::f16, Element::bf16}) {
        for (const std::size_t columns : {1, 31, 32, 100, 576}) {
            for (const std::size_t rows : {1, 5, 67}) {
                const Matrix matrix(element, rows, columns);
                for (const std::size_t m : {1, 2, 5}) {
                    const std::vector<float> x = numbers(m * columns, 3);
                    std::vector<float> y(m * rows);
                    std::vector<float> again(m * rows);
                    llama::multiply(pool, x.data(), m, matrix.dense, y.data());
                    llama::multiply(alone, x.data(), m, matrix.dense, again.data());
                    CHECK(y == again);
                    double worst = 0;
                    for (std::size_t i = 0; i < y.size(); ++i) {
                        double sum = 0;
                        for (std::size_t k = 0; k < columns; ++k) {
                            sum += double(x[i / rows * columns + k]) *
                                   matrix.values[i % rows * columns + k];
                        }
                        worst = std::max(worst, std::fabs(sum - double(y[i])));
                    }
                    CHECK(worst < 1e-5 * std::sqrt(double(columns)));
                }
            }
        }
    }
}

void small_operations() {
    for (const std::size_t count : {1, 15, 16, 100}) {
        std::vector<float> gate = numbers(count, 5);
        for (float& value : gate) {
            value *= 100;
        }
        const std::vector<float> up = numbers(count, 6);
        const std::vector<float> before = gate;
        llama::silu_multiply(gate.data(), up.data(), count);
        double worst = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const double x = double(before[i]);
            worst = std::max(worst,
                             std::fabs(x / (1 + std::exp(-x)) * double(up[i]) - double(gate[i])));
        }
        CHECK(worst < 2e-5);

        std::vector<float> scores = before;
        const double total = double(llama::exp_shifted(scores.data(), count));
        const double largest = double(*std::max_element(before.begin(), before.end()));
        double expected = 0;
        worst = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const double e = std::exp(double(before[i]) - largest);
            expected += e;
            worst = std::max(worst, std::fabs(e - double(scores[i])));
        }
        CHECK(worst < 1e-6 && std::fabs(total - expected) < 1e-5);

        const std::vector<float> rows = numbers(3 * count, 8);
        std::vector<float> products(3);
        std::vector<float> sums(count);
        llama::dots(up.data(), rows.data(), 3, count, products.data());
        llama::weighted_sum(products.data(), rows.data(), 3, count, sums.data());
        worst = 0;
        for (std::size_t d = 0; d < count; ++d) {
            double sum = 0;
            for (std::size_t r = 0; r < 3; ++r) {
                sum += double(products[r]) * double(rows[r * count + d]);
            }
            worst = std::max(worst, std::fabs(sum - double(sums[d])));
        }
        double dot = 0;
        for (std::size_t d = 0; d < count; ++d) {
            dot += double(up[d]) * double(rows[count + d]);
        }
        CHECK(worst < 1e-5 && std::fabs(dot - double(products[1])) < 1e-5);

        std::vector<float> normed(count);
        llama::rms_norm(before.data(), up, 1e-5F, normed.data());
        double mean = 1e-5;
        for (const float x : before) {
            mean += double(x) * double(x) / double(count);
        }
        CHECK(std::fabs(double(normed[0]) - double(up[0]) * double(before[0]) / std::sqrt(mean)) <
              1e-5);
    }
}

// Turning by the position keeps lengths, and products depend on the distance only.
void rotation() {
    llama::Config config;
    config.head_dim = 8;
    llama::Rope rope(config);
    rope.set_positions(5, 8);
    const auto product = [&](std::size_t a, std::size_t b) {
        std::vector<float> x = numbers(8, 1);
        std::vector<float> y = numbers(8, 2);
        rope.rotate(x.data(), a);
        rope.rotate(y.data(), b);
        double sum = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            sum += double(x[i]) * double(y[i]);
        }
        return sum;
    };
    CHECK(std::fabs(product(0, 2) - product(4, 6)) < 1e-5);
    CHECK(std::fabs(product(0, 2) - product(0, 3)) > 1e-3);
    std::vector<float> x = {1, 0, 0, 0, 0, 0, 0, 0};
    rope.rotate(x.data(), 1); // position 6, frequency 1
    CHECK(std::fabs(double(x[0]) - std::cos(6.0)) < 1e-6 &&
          std::fabs(double(x[4]) - std::sin(6.0)) < 1e-6);
}

void pool() {
    for (const unsigned threads : {1U, 2U, 5U}) {
        llama::ThreadPool workers(threads);
        CHECK(workers.threads() == threads);
        for (std::size_t count = 0; count < 200; count += 1 + count / 3) {
            std::vector<std::atomic<int>> seen(count);
            workers(count, [&](std::size_t i) { ++seen[i]; });
            int wrong = 0;
            for (const std::atomic<int>& times : seen) {
                wrong += times != 1;
            }
            CHECK(wrong == 0);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(5)); // workers fall asleep, and wake
        std::atomic<std::size_t> sum{0};
        workers(100, [&](std::size_t i) { sum += i; });
        CHECK(sum == 4950);
    }
}

} // namespace

int main() {
    return run([] {
        halves();
        products();
        small_operations();
        rotation();
        pool();
    });
}
