// fourbit.hpp - C++17 over fourbit.h: header-only, owns handles, throws fourbit::error.
//
// Every class is one pointer wide, moves and does not copy. `.c()` lends its C handle, `.release()`
// gives it up, and a constructor from the C pointer takes one over, so C and C++ calls mix freely.
// Only failures throw: fourbit::error, or what your own callback threw. Classes that are taken as
// const may be used by any number of threads at once.
//
//     fourbit::context on;
//     fourbit::weight w = fourbit::quantize(fourbit::quantizer(on), {weights, {n, k}});
//     fourbit::gemm(on, {input, {m, k}}, w, {output, {m, n}});
#ifndef FOURBIT_FOURBIT_HPP
#define FOURBIT_FOURBIT_HPP

#include <fourbit/cpp/checkpoint.hpp>
#include <fourbit/cpp/context.hpp>
#include <fourbit/cpp/convert.hpp>
#include <fourbit/cpp/handle.hpp>
#include <fourbit/cpp/model.hpp>
#include <fourbit/cpp/plan.hpp>
#include <fourbit/cpp/quantizer.hpp>
#include <fourbit/cpp/tensor.hpp>
#include <fourbit/cpp/weight.hpp>

namespace fourbit {

/// Library version as major * 10000 + minor * 100 + patch.
inline std::uint32_t version() noexcept { return fourbit_version(); }

/// FOURBIT_ABI_VERSION of the library that is running.
inline std::uint32_t abi_version() noexcept { return fourbit_abi_version(); }

/// One line: version, backends built in, best instruction set of this machine.
inline std::string_view build_info() noexcept { return fourbit_build_info(); }

/// The instruction sets in use on this machine: bit n for fourbit_cpu_isa number n.
inline std::uint32_t cpu_features() noexcept { return fourbit_cpu_features(); }

/// The name of a status, such as "shape mismatch".
inline std::string_view status_name(std::int32_t status) noexcept {
    return fourbit_status_name(status);
}

} // namespace fourbit

#endif // FOURBIT_FOURBIT_HPP
