// Products with plain matrices (float32, float16, bfloat16), for what a checkpoint keeps
// unquantized.
#ifndef LLAMA_DENSE_HPP
#define LLAMA_DENSE_HPP

#include "threads.hpp"

#include <cstdint>

namespace llama {

enum class Element { f32, f16, bf16 };

/// A row-major matrix in someone's memory.
struct DenseMatrix {
    const void* data = nullptr;
    Element element = Element::f32;
    std::size_t rows = 0;
    std::size_t columns = 0;

    std::size_t byte_size() const noexcept {
        return rows * columns * (element == Element::f32 ? 4 : 2);
    }
};

/// output[m, rows] = input[m, columns] · matrixᵀ, in float32. The same bits come out for any number
/// of threads and any m.
void multiply(ThreadPool& pool, const float* input, std::size_t m, const DenseMatrix& matrix,
              float* output);

/// Converts `count` elements from `first` on to float32.
void to_float(const DenseMatrix& matrix, std::size_t first, std::size_t count, float* output);

/// Rounds numbers to bfloat16: to the nearest, ties to the even one.
void to_bf16(const float* input, std::size_t count, std::uint16_t* output);

} // namespace llama

#endif
