// Sixteen floats at a time, in the vector types that GCC and Clang share. The compiler turns them
// into whatever the processor has.
#ifndef LLAMA_SIMD_HPP
#define LLAMA_SIMD_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>

#if !defined(__clang__) && (!defined(__GNUC__) || __GNUC__ < 12)
#error "this example needs GCC 12 or Clang: __builtin_shufflevector"
#endif

// Compiles a function several times and picks one by the processor when the program starts, so
// that a plain build is fast everywhere. Sanitizers are not up yet when that choice is made.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LLAMA_SANITIZED
#endif
#endif
#if !defined(__x86_64__) || !defined(__linux__) || defined(LLAMA_SANITIZED) ||                     \
    defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LLAMA_CLONES
#elif !defined(__clang__) && __GNUC__ >= 12
#define LLAMA_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define LLAMA_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#endif
// What a cloned function calls must become part of it, to be compiled for the same processor.
#define LLAMA_INLINE inline __attribute__((always_inline))
#define LLAMA_INLINE_LAMBDA __attribute__((always_inline))

namespace llama {

constexpr std::size_t kLanes = 16;

using f32x4 = float __attribute__((vector_size(16)));
using f32x8 = float __attribute__((vector_size(32)));
using f32x16 = float __attribute__((vector_size(64)));
using u32x16 = std::uint32_t __attribute__((vector_size(64)));
using i32x16 = std::int32_t __attribute__((vector_size(64)));
using u16x16 = std::uint16_t __attribute__((vector_size(32)));

template <class To, class From> LLAMA_INLINE void bit_copy(To& to, const From& from) {
    static_assert(sizeof(To) == sizeof(From), "same size");
    std::memcpy(&to, &from, sizeof to);
}

LLAMA_INLINE void load(f32x16& v, const float* p) { std::memcpy(&v, p, sizeof v); }
LLAMA_INLINE void store(float* p, const f32x16& v) { std::memcpy(p, &v, sizeof v); }

/// The lanes added up to four.
LLAMA_INLINE void fold(f32x4& out, const f32x16& v) {
    const f32x8 half = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                       __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
    out = __builtin_shufflevector(half, half, 0, 1, 2, 3) +
          __builtin_shufflevector(half, half, 4, 5, 6, 7);
}

/// The sum of the lanes, in a fixed order.
LLAMA_INLINE float sum(const f32x16& v) {
    f32x4 four;
    fold(four, v);
    return (four[0] + four[2]) + (four[1] + four[3]);
}

/// The sums of four vectors, each as sum() has it.
LLAMA_INLINE void sum4(float* out, const f32x16& a, const f32x16& b, const f32x16& c,
                       const f32x16& d) {
    f32x4 v[4];
    fold(v[0], a);
    fold(v[1], b);
    fold(v[2], c);
    fold(v[3], d);
    const f32x4 ab = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5) +
                     __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
    const f32x4 cd = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5) +
                     __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
    const f32x4 sums =
        __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    std::memcpy(out, &sums, sizeof sums);
}

/// e^x for x <= 88, to about 2 units in the last place; 0 below -87. The fraction of the power of
/// two is a polynomial (Taylor's, degree 6, on [-ln2/2, ln2/2]); its integer goes to the exponent.
LLAMA_INLINE void exp(f32x16& x) {
    const f32x16 clamped = x < -87.0f ? f32x16{} - 87.0f : x;
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
    const f32x16 whole = (clamped * 1.44269504f + 12582912.0f) - 12582912.0f;
    // ln 2 in two parts, the first exact in few bits.
    const f32x16 r = (clamped - whole * 0.693359375f) + whole * 2.12194440e-4f;
    f32x16 poly = f32x16{} + 1.0f / 720;
    poly = poly * r + 1.0f / 120;
    poly = poly * r + 1.0f / 24;
    poly = poly * r + 1.0f / 6;
    poly = poly * r + 0.5f;
    poly = poly * r + 1.0f;
    poly = poly * r + 1.0f;
    const i32x16 exponent = (__builtin_convertvector(whole, i32x16) + 127) << 23;
    f32x16 scale;
    bit_copy(scale, exponent);
    x = x < -87.0f ? f32x16{} : poly * scale;
}

} // namespace llama

#endif
