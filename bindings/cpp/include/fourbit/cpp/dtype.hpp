// Element types, and which C++ types have one.
#ifndef FOURBIT_CPP_DTYPE_HPP
#define FOURBIT_CPP_DTYPE_HPP

#include <fourbit/fourbit.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace fourbit {

/// An element type: fourbit_dtype with comparison.
struct dtype : fourbit_dtype {
    /// "The default", where an option asks for a dtype.
    constexpr dtype() noexcept : fourbit_dtype{0, 0, 0} {}
    /// A code of DLPack and a number of bits.
    constexpr dtype(fourbit_dtype_code type_code, unsigned type_bits) noexcept
        : fourbit_dtype{static_cast<std::uint8_t>(type_code), static_cast<std::uint8_t>(type_bits),
                        1} {}
    /// As the C struct says.
    constexpr dtype(fourbit_dtype plain) noexcept : fourbit_dtype(plain) {}

    /// Bytes per element.
    constexpr std::size_t size() const noexcept { return bits / 8U; }

    /// Same code, bits and lanes.
    friend constexpr bool operator==(dtype a, dtype b) noexcept {
        return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes;
    }
    /// Another code, bits or lanes.
    friend constexpr bool operator!=(dtype a, dtype b) noexcept { return !(a == b); }
};

inline constexpr dtype float64{FOURBIT_DTYPE_CODE_FLOAT, 64};
inline constexpr dtype float32{FOURBIT_DTYPE_CODE_FLOAT, 32};
inline constexpr dtype float16{FOURBIT_DTYPE_CODE_FLOAT, 16};
inline constexpr dtype bfloat16{FOURBIT_DTYPE_CODE_BFLOAT, 16};
inline constexpr dtype uint8{FOURBIT_DTYPE_CODE_UINT, 8};

/// The dtype of a C++ type. 16-bit floats have no type of their own in C++17: give their dtype to
/// the view (`view(data, fourbit::bfloat16, {m, k})`), or specialize this for a type of yours.
template <class T, class = void> struct dtype_of {};

/// @cond specializations, which the template above documents
template <> struct dtype_of<float> { static constexpr dtype value = float32; };
template <> struct dtype_of<double> { static constexpr dtype value = float64; };
template <> struct dtype_of<bool> { static constexpr dtype value{FOURBIT_DTYPE_CODE_BOOL, 8}; };
#if defined(__STDCPP_FLOAT16_T__)
template <> struct dtype_of<decltype(0.0f16)> { static constexpr dtype value = float16; };
#endif
#if defined(__STDCPP_BFLOAT16_T__)
template <> struct dtype_of<decltype(0.0bf16)> { static constexpr dtype value = bfloat16; };
#endif

template <class T>
struct dtype_of<
    T, std::enable_if_t<std::is_integral_v<T> && !std::is_const_v<T> && !std::is_same_v<T, bool>>> {
    static constexpr dtype value{
        std::is_signed_v<T> ? FOURBIT_DTYPE_CODE_INT : FOURBIT_DTYPE_CODE_UINT, 8 * sizeof(T)};
};
/// @endcond

} // namespace fourbit

#endif // FOURBIT_CPP_DTYPE_HPP
