// The command line.
#ifndef LLAMA_OPTIONS_HPP
#define LLAMA_OPTIONS_HPP

#include <cstdint>
#include <stdexcept>
#include <string>

namespace llama {

struct Options {
    std::string model;
    std::string prompt;
    std::size_t tokens = 128;
    float temperature = 0;
    float top_p = 1;
    std::uint64_t seed = 0;
    unsigned threads = 0;
    bool chat = false;
    std::string system;
    bool ignore_eos = false;
    bool bf16 = false;
    bool roofline = false;
    std::string perplexity_file;
    std::size_t context = 0;
    std::size_t stride = 0;
    bool json = false;
    bool help = false;
};

/// A command line that makes no sense.
class UsageError : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// Throws UsageError, naming the option at fault.
Options parse_options(int argc, char** argv);

extern const char* const kUsage;

} // namespace llama

#endif
