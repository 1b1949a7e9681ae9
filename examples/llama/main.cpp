// A small Llama on fourbit: continues a text, chats, or measures perplexity, from a 16-bit or a
// 4-bit checkpoint.

#include "chat.hpp"
#include "generate.hpp"
#include "options.hpp"
#include "perplexity.hpp"
#include "reading.hpp"
#include "report.hpp"

#include <fstream>
#include <iostream>
#include <sstream>

namespace llama {

namespace {

std::vector<int> with_bos(const Tokenizer& tokenizer, const std::string& text) {
    std::vector<int> tokens = tokenizer.encode(text);
    if (tokenizer.bos) {
        tokens.insert(tokens.begin(), *tokenizer.bos);
    }
    return tokens;
}

void stream(const std::string& bytes) { std::cout << bytes << std::flush; }

void generate(const Options& options, Runtime& runtime, Model& model, const Tokenizer& tokenizer) {
    Limits limits{options.tokens, {}};
    if (!options.ignore_eos) {
        limits.stop = model.config().eos_tokens;
    }
    const std::vector<int> prompt = options.chat
                                        ? chat_turn(tokenizer, options.system, options.prompt, true)
                                        : with_bos(tokenizer, options.prompt);
    if (options.chat) {
        limits.stop.push_back(chat_stops(tokenizer).front());
    }
    const std::size_t most = options.context != 0 ? options.context : model.config().max_position;
    const std::size_t context = std::min(most, prompt.size() + options.tokens);
    Sampler sampler(options.temperature, options.top_p, options.seed);
    Session session(model, tokenizer, sampler, context);
    if (!options.json && !options.chat) {
        stream(options.prompt);
    }
    Generation done = session.run(prompt, limits, [&](const std::string& bytes) {
        if (!options.json) {
            stream(bytes);
        }
    });
    if (options.roofline) {
        done.read_seconds = seconds_to_read(runtime.pool, model.weights());
    }
    if (options.json) {
        std::cout << generation_json(done, model.weights(), options) << '\n';
    } else {
        std::cout << '\n';
        std::cerr << '\n' << generation_words(done, model.weights());
    }
}

void chat(const Options& options, Model& model, const Tokenizer& tokenizer) {
    Limits limits{options.tokens, chat_stops(tokenizer)};
    const std::size_t context = options.context != 0
                                    ? options.context
                                    : std::min<std::size_t>(model.config().max_position, 2048);
    Sampler sampler(options.temperature, options.top_p, options.seed);
    Session session(model, tokenizer, sampler, context);
    bool first = true;
    for (std::string line; std::cerr << "> " << std::flush, std::getline(std::cin, line);) {
        if (line.empty()) {
            continue;
        }
        const std::vector<int> turn = chat_turn(tokenizer, options.system, line, first);
        const Generation done = session.run(turn, limits, stream);
        std::cout << '\n';
        std::cerr << generation_words(done, model.weights());
        first = false;
    }
}

void perplexity(const Options& options, Model& model, const Tokenizer& tokenizer) {
    std::ifstream file(options.perplexity_file, std::ios::binary);
    std::ostringstream text;
    if (!(file && text << file.rdbuf())) {
        throw std::runtime_error("cannot read " + options.perplexity_file);
    }
    const std::size_t most = model.config().max_position;
    const std::size_t context =
        options.context != 0 ? options.context : std::min<std::size_t>(most, 1024);
    const std::size_t stride =
        options.stride != 0 ? options.stride : std::max<std::size_t>(context / 2, 1);
    const Perplexity result =
        measure_perplexity(model, tokenizer.encode(text.str()), context, stride);
    std::cout << (options.json ? perplexity_json(result, options) : perplexity_words(result))
              << '\n';
}

void run(const Options& options) {
    Runtime runtime(options.threads, options.bf16);
    const Weights weights(options.model, runtime);
    const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(options.model, weights.config());
    Model model(weights, runtime);
    if (!options.perplexity_file.empty()) {
        return perplexity(options, model, *tokenizer);
    }
    if (options.chat && options.prompt.empty()) {
        return chat(options, model, *tokenizer);
    }
    generate(options, runtime, model, *tokenizer);
}

} // namespace
} // namespace llama

int main(int argc, char** argv) {
    try {
        const llama::Options options = llama::parse_options(argc, argv);
        if (options.help) {
            std::cout << llama::kUsage;
            return 0;
        }
        llama::run(options);
        return std::cout.good() ? 0 : 1;
    } catch (const llama::UsageError& e) {
        std::cerr << "llama: " << e.what() << "\n\n" << llama::kUsage;
        return 2;
    } catch (const std::exception& e) {
        std::cerr << "llama: " << e.what() << '\n';
        return 1;
    }
}
