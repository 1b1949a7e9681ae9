#include "dense.hpp"

#include "simd.hpp"

#include <algorithm>

namespace llama {

namespace {

// How 32 elements become two vectors. 16-bit ones come as pairs in 32-bit words, which gives the
// elements at even places and those at odd places without moving anything between lanes; the
// inputs are dealt out alike.

struct F32 {
    using Stored = float;
    static LLAMA_INLINE void load32(f32x16& a, f32x16& b, const float* p) {
        load(a, p);
        load(b, p + kLanes);
    }
    static LLAMA_INLINE void load_input(f32x16& a, f32x16& b, const float* p) { load32(a, b, p); }
};

LLAMA_INLINE void load_even_odd(f32x16& even, f32x16& odd, const float* p) {
    f32x16 first;
    f32x16 second;
    F32::load32(first, second, p);
    even = __builtin_shufflevector(first, second, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26,
                                   28, 30);
    odd = __builtin_shufflevector(first, second, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27,
                                  29, 31);
}

struct Bf16 {
    using Stored = std::uint16_t;
    // A bfloat16 is the upper half of a float32.
    static LLAMA_INLINE void load32(f32x16& even, f32x16& odd, const std::uint16_t* p) {
        u32x16 pairs;
        std::memcpy(&pairs, p, sizeof pairs);
        bit_copy(even, pairs << 16);
        bit_copy(odd, pairs & 0xffff0000);
    }
    static LLAMA_INLINE void load_input(f32x16& even, f32x16& odd, const float* p) {
        load_even_odd(even, odd, p);
    }
    static float one(std::uint16_t stored) {
        const std::uint32_t bits = std::uint32_t{stored} << 16;
        float value;
        std::memcpy(&value, &bits, sizeof value);
        return value;
    }
};

struct F16 {
    using Stored = std::uint16_t;
    // Exponent and fraction move into place; a power of two makes up for the other bias, and turns
    // subnormals into what they stand for. Infinities and NaNs get the largest exponent.
    static LLAMA_INLINE void widen(f32x16& v, const u32x16& half) {
        bit_copy(v, (half & 0x7fff) << 13);
        v *= 0x1p112f;
        u32x16 bits;
        bit_copy(bits, v);
        bits |= (half & 0x7c00) == 0x7c00 ? u32x16{} + 0x7f800000U : u32x16{};
        bit_copy(v, bits | (half & 0x8000) << 16);
    }
    static LLAMA_INLINE void load32(f32x16& even, f32x16& odd, const std::uint16_t* p) {
        u32x16 pairs;
        std::memcpy(&pairs, p, sizeof pairs);
        widen(even, pairs & 0xffff);
        widen(odd, pairs >> 16);
    }
    static LLAMA_INLINE void load_input(f32x16& even, f32x16& odd, const float* p) {
        load_even_odd(even, odd, p);
    }
    static float one(std::uint16_t stored) {
        f32x16 v;
        widen(v, u32x16{stored});
        return v[0];
    }
};

constexpr std::size_t kStep = 2 * kLanes;

struct Product {
    const float* input;
    std::size_t m;
    const DenseMatrix* matrix;
    float* output;
};

/// Rows x Inputs dot products at once: each weight that is read serves several inputs, and the sums
/// are independent of each other. A dot product is summed in the same order in any such tile.
template <class Type, std::size_t Rows, std::size_t Inputs> class Tile {
  public:
    using Stored = typename Type::Stored;

    LLAMA_INLINE Tile() {
        for (auto& row : sums_) {
            for (f32x16& sum : row) {
                sum = f32x16{};
            }
        }
    }

    /// Adds the products of 32 columns; rows and inputs are `k` apart.
    LLAMA_INLINE void add(const Stored* weights, const float* inputs, std::size_t k) {
        f32x16 w[Rows][2];
        f32x16 x[2];
        for (std::size_t r = 0; r < Rows; ++r) {
            Type::load32(w[r][0], w[r][1], weights + r * k);
        }
        for (std::size_t i = 0; i < Inputs; ++i) {
            Type::load_input(x[0], x[1], inputs + i * k);
            for (std::size_t r = 0; r < Rows; ++r) {
                sums_[r][i] += w[r][0] * x[0];
                sums_[r][i] += w[r][1] * x[1];
            }
        }
    }

    /// As add() for the last `count` < 32 columns.
    LLAMA_INLINE void add_tail(const Stored* weights, const float* inputs, std::size_t k,
                               std::size_t count) {
        Stored padded_weights[Rows * kStep] = {};
        float padded_inputs[Inputs * kStep] = {};
        for (std::size_t r = 0; r < Rows; ++r) {
            std::memcpy(padded_weights + r * kStep, weights + r * k, count * sizeof(Stored));
        }
        for (std::size_t i = 0; i < Inputs; ++i) {
            std::memcpy(padded_inputs + i * kStep, inputs + i * k, count * sizeof(float));
        }
        add(padded_weights, padded_inputs, kStep);
    }

    /// The dot products of all rows with an input.
    LLAMA_INLINE void results(std::size_t input, float* out) const {
        if constexpr (Rows == 4) {
            sum4(out, sums_[0][input], sums_[1][input], sums_[2][input], sums_[3][input]);
        } else {
            for (std::size_t r = 0; r < Rows; ++r) {
                out[r] = sum(sums_[r][input]);
            }
        }
    }

  private:
    f32x16 sums_[Rows][Inputs];
};

template <class Type, std::size_t Rows, std::size_t Inputs>
LLAMA_INLINE void multiply_tile(const Product& job, std::size_t row, std::size_t input) {
    const std::size_t k = job.matrix->columns;
    const auto* weights = static_cast<const typename Type::Stored*>(job.matrix->data) + row * k;
    const float* inputs = job.input + input * k;
    Tile<Type, Rows, Inputs> tile;
    // Rows are short streams, each of which ends where the next begins, so the processor does not
    // foresee what the tile after next reads.
    const std::size_t ahead = row + 3 * Rows <= job.matrix->rows ? 2 * Rows * k : 0;
    std::size_t at = 0;
    for (; at + kStep <= k; at += kStep) {
        for (std::size_t r = 0; r < Rows; ++r) {
            __builtin_prefetch(weights + ahead + r * k + at);
        }
        tile.add(weights + at, inputs + at, k);
    }
    if (at < k) {
        tile.add_tail(weights + at, inputs + at, k, k - at);
    }
    for (std::size_t i = 0; i < Inputs; ++i) {
        tile.results(i, job.output + (input + i) * job.matrix->rows + row);
    }
}

template <class Type, std::size_t Rows>
LLAMA_INLINE void stripe(const Product& job, std::size_t row) {
    std::size_t input = 0;
    for (; input + 2 <= job.m; input += 2) {
        multiply_tile<Type, Rows, 2>(job, row, input);
    }
    if (input < job.m) {
        multiply_tile<Type, Rows, 1>(job, row, input);
    }
}

template <class Type>
LLAMA_INLINE void rows(const Product& job, std::size_t first, std::size_t last) {
    std::size_t row = first;
    for (; row + 4 <= last; row += 4) {
        stripe<Type, 4>(job, row);
    }
    for (; row < last; ++row) {
        stripe<Type, 1>(job, row);
    }
}

LLAMA_CLONES void rows_f32(const Product& job, std::size_t first, std::size_t last) {
    rows<F32>(job, first, last);
}
LLAMA_CLONES void rows_f16(const Product& job, std::size_t first, std::size_t last) {
    rows<F16>(job, first, last);
}
LLAMA_CLONES void rows_bf16(const Product& job, std::size_t first, std::size_t last) {
    rows<Bf16>(job, first, last);
}

} // namespace

void multiply(ThreadPool& pool, const float* input, std::size_t m, const DenseMatrix& matrix,
              float* output) {
    const Product job{input, m, &matrix, output};
    // Large enough to be worth handing out, small enough to even out.
    const std::size_t even = matrix.rows / (std::size_t{4} * pool.threads());
    const std::size_t step = std::max(std::size_t{16}, (even + 3) / 4 * 4);
    pool((matrix.rows + step - 1) / step, [&](std::size_t index) {
        const std::size_t first = index * step;
        const std::size_t last = std::min(first + step, matrix.rows);
        switch (matrix.element) {
        case Element::f32:
            return rows_f32(job, first, last);
        case Element::f16:
            return rows_f16(job, first, last);
        case Element::bf16:
            return rows_bf16(job, first, last);
        }
    });
}

LLAMA_CLONES void to_bf16(const float* input, std::size_t count, std::uint16_t* output) {
    for (std::size_t i = 0; i < count; ++i) {
        std::uint32_t bits;
        std::memcpy(&bits, input + i, sizeof bits);
        output[i] = static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}

void to_float(const DenseMatrix& matrix, std::size_t first, std::size_t count, float* output) {
    if (matrix.element == Element::f32) {
        std::memcpy(output, static_cast<const float*>(matrix.data) + first, count * sizeof(float));
        return;
    }
    const auto* from = static_cast<const std::uint16_t*>(matrix.data) + first;
    const bool is_bf16 = matrix.element == Element::bf16;
    for (std::size_t i = 0; i < count; ++i) {
        output[i] = is_bf16 ? Bf16::one(from[i]) : F16::one(from[i]);
    }
}

} // namespace llama
