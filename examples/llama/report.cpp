#include "report.hpp"

#include "json.hpp"

#include <iomanip>
#include <sstream>

namespace llama {

namespace {

double megabytes(std::size_t bytes) { return static_cast<double>(bytes) / 1e6; }

std::ostringstream fixed(int digits) {
    std::ostringstream out;
    out << std::fixed << std::setprecision(digits);
    return out;
}

} // namespace

std::string generation_words(const Generation& done, const Weights& weights) {
    const std::size_t bytes = weights.bytes_per_token();
    const double per_second = done.decode_speed() * static_cast<double>(bytes);
    std::ostringstream out = fixed(1);
    out << "prompt: " << done.prompt_tokens << " tokens, " << done.prompt_speed()
        << " tokens/s; generated: " << done.tokens.size() << " tokens, " << done.decode_speed()
        << " tokens/s\nweights read per token: " << megabytes(bytes) << " MB ("
        << megabytes(weights.bytes_per_token_4bit()) << " MB of it 4-bit), " << per_second / 1e9
        << " GB/s\n";
    if (done.read_seconds > 0) {
        const double read = done.read_speed();
        out << "reading them alone: " << read << " tokens/s, "
            << read * static_cast<double>(bytes) / 1e9 << " GB/s; decoding takes "
            << std::setprecision(2) << read / done.decode_speed() << " times as long\n";
    }
    return out.str();
}

std::string generation_json(const Generation& done, const Weights& weights,
                            const Options& options) {
    std::ostringstream out = fixed(3);
    out << "{\"model\": " << json::quote(options.model)
        << ", \"prompt\": " << json::quote(options.prompt)
        << ", \"text\": " << json::quote(done.text) << ", \"tokens\": [";
    for (std::size_t i = 0; i < done.tokens.size(); ++i) {
        out << (i == 0 ? "" : ", ") << done.tokens[i];
    }
    out << "], \"prompt_tokens\": " << done.prompt_tokens
        << ", \"prompt_tokens_per_second\": " << done.prompt_speed()
        << ", \"decode_tokens_per_second\": " << done.decode_speed()
        << ", \"read_tokens_per_second\": " << done.read_speed()
        << ", \"weight_bytes_per_token\": " << weights.bytes_per_token()
        << ", \"weight_bytes_per_token_4bit\": " << weights.bytes_per_token_4bit() << "}";
    return out.str();
}

std::string perplexity_words(const Perplexity& result) {
    std::ostringstream out = fixed(4);
    out << "perplexity " << result.perplexity() << " (" << result.nats_per_token
        << " nats per token) over " << result.scored << " tokens";
    return out.str();
}

std::string perplexity_json(const Perplexity& result, const Options& options) {
    std::ostringstream out = fixed(6);
    out << "{\"model\": " << json::quote(options.model)
        << ", \"perplexity\": " << result.perplexity()
        << ", \"nats_per_token\": " << result.nats_per_token << ", \"tokens\": " << result.scored
        << "}";
    return out.str();
}

} // namespace llama
