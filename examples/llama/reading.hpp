// How fast the weights could be read at all: what decoding is measured against.
#ifndef LLAMA_READING_HPP
#define LLAMA_READING_HPP

#include "weights.hpp"

namespace llama {

/// Seconds that the pool's threads take to read the bytes that decoding one token reads, and do
/// nothing else with them: the median of several passes.
double seconds_to_read(ThreadPool& pool, const Weights& weights);

} // namespace llama

#endif
