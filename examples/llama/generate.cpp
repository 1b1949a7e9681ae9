#include "generate.hpp"

#include <algorithm>
#include <chrono>
#include <stdexcept>

namespace llama {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

double rate(std::size_t count, double seconds) {
    return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

} // namespace

double Generation::prompt_speed() const { return rate(prompt_tokens, prompt_seconds); }
double Generation::decode_speed() const { return rate(decoded, decode_seconds); }

double Generation::read_speed() const { return rate(1, read_seconds); }

Session::Session(Model& model, const Tokenizer& tokenizer, Sampler& sampler, std::size_t context)
    : model_(model), tokenizer_(tokenizer), sampler_(sampler), cache_(model.config(), context),
      logits_(model.config().vocab_size) {}

/// In batches; only the last position's logits are needed.
void Session::evaluate_prompt(const std::vector<int>& prompt) {
    for (std::size_t at = 0; at < prompt.size(); at += Model::kMaxBatch) {
        const std::size_t end = std::min(at + Model::kMaxBatch, prompt.size());
        const std::vector<int> batch(prompt.data() + at, prompt.data() + end);
        const float* hidden = model_.forward(batch, cache_);
        if (end == prompt.size()) {
            const std::size_t last = (batch.size() - 1) * model_.config().hidden_size;
            model_.logits(hidden + last, 1, logits_.data());
        }
    }
}

Generation Session::run(const std::vector<int>& prompt, const Limits& limits,
                        const std::function<void(const std::string&)>& on_text) {
    if (prompt.empty()) {
        throw std::runtime_error("the prompt has no tokens");
    }
    const std::size_t length = cache_.length() + pending_.size() + prompt.size();
    if (length >= cache_.capacity()) {
        throw std::runtime_error("the text has " + std::to_string(length) +
                                 " tokens, the context " + std::to_string(cache_.capacity()));
    }
    Generation done;
    done.prompt_tokens = prompt.size();
    Clock::time_point start = Clock::now();
    pending_.insert(pending_.end(), prompt.begin(), prompt.end());
    evaluate_prompt(pending_);
    pending_.clear();
    done.prompt_seconds = seconds_since(start);
    start = Clock::now();
    std::vector<int> next(1);
    for (;;) {
        next[0] = sampler_.choose(logits_);
        const auto& stop = limits.stop;
        if (std::find(stop.begin(), stop.end(), next[0]) != stop.end()) {
            break;
        }
        const std::string bytes = tokenizer_.decode(next[0]);
        done.tokens.push_back(next[0]);
        done.text += bytes;
        on_text(bytes);
        const bool full = cache_.length() == cache_.capacity();
        if (done.tokens.size() == limits.tokens || full) {
            pending_ = next;
            break;
        }
        model_.logits(model_.forward(next, cache_), 1, logits_.data());
        ++done.decoded;
    }
    done.decode_seconds = seconds_since(start);
    return done;
}

} // namespace llama
