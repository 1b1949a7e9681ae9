#include "ops.hpp"

#include "simd.hpp"

#include <algorithm>
#include <cmath>

namespace llama {

namespace {

/// The last `count` < 16 floats, zeros beyond.
LLAMA_INLINE void load_tail(f32x16& v, const float* p, std::size_t count) {
    v = f32x16{};
    std::memcpy(&v, p, count * sizeof *p);
}

LLAMA_INLINE float dot_product(const float* a, const float* b, std::size_t count) {
    f32x16 x;
    f32x16 y;
    f32x16 total{};
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        load(x, a + i);
        load(y, b + i);
        total += x * y;
    }
    if (i < count) {
        load_tail(x, a + i, count - i);
        load_tail(y, b + i, count - i);
        total += x * y;
    }
    return sum(total);
}

/// Calls `change(v)` for all values, 16 at a time, and stores what it makes of them.
template <class Change>
LLAMA_INLINE void transform(float* values, std::size_t count, const Change& change) {
    f32x16 v;
    std::size_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
        load(v, values + i);
        change(v, i, kLanes);
        store(values + i, v);
    }
    if (i < count) {
        load_tail(v, values + i, count - i);
        change(v, i, count - i);
        std::memcpy(values + i, &v, (count - i) * sizeof(float));
    }
}

} // namespace

LLAMA_CLONES void dots(const float* x, const float* rows, std::size_t count, std::size_t width,
                       float* output) {
    std::size_t i = 0;
    for (; i + 4 <= count && width % kLanes == 0; i += 4) {
        f32x16 totals[4] = {};
        f32x16 a;
        f32x16 b;
        for (std::size_t d = 0; d < width; d += kLanes) {
            load(a, x + d);
            for (std::size_t j = 0; j < 4; ++j) {
                load(b, rows + (i + j) * width + d);
                totals[j] += a * b;
            }
        }
        sum4(output + i, totals[0], totals[1], totals[2], totals[3]);
    }
    for (; i < count; ++i) {
        output[i] = dot_product(x, rows + i * width, width);
    }
}

LLAMA_CLONES void rms_norm(const float* x, const std::vector<float>& weight, float eps,
                           float* output) {
    const std::size_t count = weight.size();
    const float mean = dot_product(x, x, count) / static_cast<float>(count);
    const float scale = 1.0f / std::sqrt(mean + eps);
    for (std::size_t i = 0; i < count; ++i) {
        output[i] = weight[i] * (x[i] * scale);
    }
}

LLAMA_CLONES void add(float* x, const float* y, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        x[i] += y[i];
    }
}

LLAMA_CLONES void silu_multiply(float* gate, const float* up, std::size_t count) {
    transform(gate, count, [up](f32x16& v, std::size_t at, std::size_t lanes) LLAMA_INLINE_LAMBDA {
        f32x16 other;
        load_tail(other, up + at, lanes);
        f32x16 e = -v;
        // Beyond 88 e^x is infinite in float32, and the quotient 0 all the same.
        e = e > 88.0f ? f32x16{} + 88.0f : e;
        exp(e);
        v = v / (1.0f + e) * other;
    });
}

LLAMA_CLONES float exp_shifted(float* scores, std::size_t count) {
    const float largest = *std::max_element(scores, scores + count);
    f32x16 total{};
    transform(scores, count, [&](f32x16& v, std::size_t, std::size_t lanes) LLAMA_INLINE_LAMBDA {
        v -= largest;
        exp(v);
        f32x16 kept;
        load_tail(kept, reinterpret_cast<const float*>(&v), lanes);
        total += kept;
    });
    return sum(total);
}

namespace {

/// weighted_sum() of 16 * Vectors columns, held in registers: those of even rows and those of odd
/// ones, so that additions need not wait for each other.
template <std::size_t Vectors>
LLAMA_INLINE void sum_columns(const float* factors, const float* rows, std::size_t count,
                              std::size_t width, float* output) {
    f32x16 totals[2][Vectors];
    f32x16 v;
    for (auto& total : totals) {
        for (f32x16& vector : total) {
            vector = f32x16{};
        }
    }
    const auto add = [&](f32x16* total, std::size_t i) LLAMA_INLINE_LAMBDA {
        for (std::size_t j = 0; j < Vectors; ++j) {
            load(v, rows + i * width + j * kLanes);
            total[j] += factors[i] * v;
        }
    };
    std::size_t i = 0;
    for (; i + 2 <= count; i += 2) {
        add(totals[0], i);
        add(totals[1], i + 1);
    }
    if (i < count) {
        add(totals[0], i);
    }
    for (std::size_t j = 0; j < Vectors; ++j) {
        store(output + j * kLanes, totals[0][j] + totals[1][j]);
    }
}

} // namespace

LLAMA_CLONES void weighted_sum(const float* factors, const float* rows, std::size_t count,
                               std::size_t width, float* output) {
    std::size_t d = 0;
    for (; d + 4 * kLanes <= width; d += 4 * kLanes) {
        sum_columns<4>(factors, rows + d, count, width, output + d);
    }
    for (; d + kLanes <= width; d += kLanes) {
        sum_columns<1>(factors, rows + d, count, width, output + d);
    }
    for (; d < width; ++d) {
        output[d] = 0;
        for (std::size_t i = 0; i < count; ++i) {
            output[d] += factors[i] * rows[i * width + d];
        }
    }
}

namespace {

/// Llama 3.1's rule: long waves are slowed by the factor, short ones kept, those between blended.
double llama3_frequency(double frequency, const RopeScaling& scaling) {
    const double wave = 2 * std::acos(-1.0) / frequency;
    const double turns = scaling.original_context / wave;
    if (turns < scaling.low_freq_factor) {
        return frequency / scaling.factor;
    }
    if (turns > scaling.high_freq_factor) {
        return frequency;
    }
    const double blend =
        (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
    return (1 - blend) * frequency / scaling.factor + blend * frequency;
}

} // namespace

Rope::Rope(const Config& config) {
    for (std::size_t i = 0; i < config.head_dim; i += 2) {
        const double exponent = static_cast<double>(i) / static_cast<double>(config.head_dim);
        double frequency = 1 / std::pow(config.rope_theta, exponent);
        switch (config.rope_scaling.kind) {
        case RopeScaling::Kind::none:
            break;
        case RopeScaling::Kind::linear:
            frequency /= config.rope_scaling.factor;
            break;
        case RopeScaling::Kind::llama3:
            frequency = llama3_frequency(frequency, config.rope_scaling);
            break;
        }
        frequencies_.push_back(static_cast<float>(frequency));
    }
}

void Rope::set_positions(std::size_t first, std::size_t count) {
    const std::size_t half = frequencies_.size();
    cosines_.resize(count * half);
    sines_.resize(count * half);
    for (std::size_t row = 0; row < count; ++row) {
        for (std::size_t i = 0; i < half; ++i) {
            const float angle = static_cast<float>(first + row) * frequencies_[i];
            cosines_[row * half + i] = std::cos(angle);
            sines_[row * half + i] = std::sin(angle);
        }
    }
}

void Rope::rotate(float* head, std::size_t row) const {
    const std::size_t half = frequencies_.size();
    const float* cosine = cosines_.data() + row * half;
    const float* sine = sines_.data() + row * half;
    for (std::size_t i = 0; i < half; ++i) {
        const float a = head[i];
        const float b = head[i + half];
        head[i] = a * cosine[i] - b * sine[i];
        head[i + half] = b * cosine[i] + a * sine[i];
    }
}

} // namespace llama
