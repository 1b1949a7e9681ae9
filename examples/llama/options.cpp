#include "options.hpp"

#include <cstdlib>

namespace llama {

const char* const kUsage = R"(usage: llama --model DIR --prompt TEXT [options]
       llama --model DIR --chat [options]              one question per line of input
       llama --model DIR --perplexity FILE [options]

DIR is a Hugging Face checkpoint directory of a Llama, 16-bit or 4-bit.

  --prompt TEXT       what to continue; with --chat, the question
  --tokens N          at most N new tokens (128)
  --temperature T     0: always the likeliest token (0)
  --top-p P           draw only from the likeliest tokens of this total probability (1)
  --seed N            of the random numbers (0)
  --threads N         0: one per processor (0)
  --bf16              evaluate prompts with bfloat16 activations (faster with 4-bit weights)
  --roofline          measure how fast the weights could be read at all, and compare
  --chat              use SmolLM2's chat template
  --system TEXT       the system message of a chat
  --ignore-eos        go on after the end of the text
  --perplexity FILE   how surprised the model is by a text
  --context N         positions in use at a time (the model's own limit; 1024 for --perplexity)
  --stride N          tokens scored per window of --perplexity (half the context)
  --json              a summary in JSON instead of streamed text
  --help              this text
)";

namespace {

class Arguments {
  public:
    Arguments(int argc, char** argv) : argc_(argc), argv_(argv) {}

    bool next() {
        if (at_ + 1 >= argc_) {
            return false;
        }
        name_ = argv_[++at_];
        return true;
    }
    const std::string& name() const { return name_; }

    std::string text() {
        if (at_ + 1 >= argc_) {
            throw UsageError(name_ + " needs a value");
        }
        return argv_[++at_];
    }

    double number(double least, double most) {
        const std::string word = text();
        char* end = nullptr;
        const double value = std::strtod(word.c_str(), &end);
        if (word.empty() || *end != '\0' || !(value >= least && value <= most)) {
            throw UsageError(name_ + " " + word + ": expected a number of at least " +
                             std::to_string(static_cast<long long>(least)));
        }
        return value;
    }

    template <class Int> Int whole(double least, double most) {
        const double value = number(least, most);
        const Int result = static_cast<Int>(value);
        if (static_cast<double>(result) != value) {
            throw UsageError(name_ + ": expected a whole number");
        }
        return result;
    }

  private:
    int argc_;
    char** argv_;
    int at_ = 0;
    std::string name_;
};

constexpr double kMany = 1e9;

bool parse_flag(const std::string& name, Options& options) {
    bool* const flag = name == "--chat"         ? &options.chat
                       : name == "--ignore-eos" ? &options.ignore_eos
                       : name == "--bf16"       ? &options.bf16
                       : name == "--roofline"   ? &options.roofline
                       : name == "--json"       ? &options.json
                       : name == "--help"       ? &options.help
                                                : nullptr;
    if (flag != nullptr) {
        *flag = true;
    }
    return flag != nullptr;
}

bool parse_text(Arguments& arguments, Options& options) {
    const std::string& name = arguments.name();
    std::string* const text = name == "--model"        ? &options.model
                              : name == "--prompt"     ? &options.prompt
                              : name == "--system"     ? &options.system
                              : name == "--perplexity" ? &options.perplexity_file
                                                       : nullptr;
    if (text != nullptr) {
        *text = arguments.text();
    }
    return text != nullptr;
}

bool parse_number(Arguments& arguments, Options& options) {
    const std::string& name = arguments.name();
    if (name == "--tokens") {
        options.tokens = arguments.whole<std::size_t>(1, kMany);
    } else if (name == "--temperature") {
        options.temperature = static_cast<float>(arguments.number(0, 100));
    } else if (name == "--top-p") {
        options.top_p = static_cast<float>(arguments.number(0, 1));
    } else if (name == "--seed") {
        options.seed = arguments.whole<std::uint64_t>(0, 0x1p53);
    } else if (name == "--threads") {
        options.threads = arguments.whole<unsigned>(0, 1024);
    } else if (name == "--context") {
        options.context = arguments.whole<std::size_t>(1, kMany);
    } else if (name == "--stride") {
        options.stride = arguments.whole<std::size_t>(1, kMany);
    } else {
        return false;
    }
    return true;
}

} // namespace

Options parse_options(int argc, char** argv) {
    Options options;
    Arguments arguments(argc, argv);
    while (arguments.next()) {
        const bool known = parse_flag(arguments.name(), options) ||
                           parse_text(arguments, options) || parse_number(arguments, options);
        if (!known) {
            throw UsageError("unknown option " + arguments.name());
        }
    }
    if (options.help) {
        return options;
    }
    if (options.model.empty()) {
        throw UsageError("--model is missing");
    }
    const bool something =
        options.chat || !options.prompt.empty() || !options.perplexity_file.empty();
    if (!something) {
        throw UsageError("one of --prompt, --chat and --perplexity is needed");
    }
    if (options.chat && options.prompt.empty() && options.json) {
        throw UsageError("--json with --chat needs a --prompt");
    }
    return options;
}

} // namespace llama
