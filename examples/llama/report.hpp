// What a run says about itself, in words and in JSON.
#ifndef LLAMA_REPORT_HPP
#define LLAMA_REPORT_HPP

#include "generate.hpp"
#include "options.hpp"
#include "perplexity.hpp"

namespace llama {

/// Speeds, and the bytes of weights that a token reads; ends with a newline.
std::string generation_words(const Generation& done, const Weights& weights);
std::string generation_json(const Generation& done, const Weights& weights, const Options& options);

std::string perplexity_words(const Perplexity& result);
std::string perplexity_json(const Perplexity& result, const Options& options);

} // namespace llama

#endif
