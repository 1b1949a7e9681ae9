// The example engine's tokenizer: how text is cut into pieces, merging against the plainest way to
// do it, special tokens, files that are damaged. Expected pieces come from the `tokenizers`
// library.
#include "check.hpp"

#include "../../examples/llama/bpe.cpp"
#include "../../examples/llama/json.cpp"
#include "../../examples/llama/pieces.cpp"
#include "../../examples/llama/tokenizer.cpp"
#include "../../examples/llama/utf8.cpp"

namespace {

using llama::BpeTables;

std::string joined(const std::string& text, bool split_digits) {
    std::string out;
    std::size_t begin = 0;
    for (const std::size_t end : llama::split_pieces(text, split_digits)) {
        if (!out.empty()) {
            out += '|';
        }
        out += text.substr(begin, end - begin);
        begin = end;
    }
    return out;
}

void pieces() {
    const char* const same_both_ways[] = {"Hello|,| world|!",
                                          " | two| | spaces| ",
                                          "I|'ll| don|'t| we|'ve| '|sup",
                                          "tab|\t|new|\n|\n|line| | end|\n",
                                          "x| =| y|+|1|;| | #| ok",
                                          "café| naïve| —| “|q|”",
                                          "日本語| Привет",
                                          "\u00a0|nbsp| |\u3000|wide",
                                          "''''|re",
                                          "  ",
                                          "😀| 👍🏽",
                                          "'|LL| '|d",
                                          "\r\n\r|\n|x",
                                          ""};
    const char* const together[] = {"a|1|b|22| 333|.|5", "e|\u0301|½²"};
    const char* const apart[] = {"a|1|b|2|2| |3|3|3|.|5", "e|\u0301|½|²"};
    const auto expect = [](const char* expected, bool split_digits) {
        std::string text;
        for (const char* c = expected; *c != '\0'; ++c) {
            text += *c == '|' ? "" : std::string(1, *c);
        }
        const std::string found = joined(text, split_digits);
        if (found != expected) {
            std::printf("found \"%s\"\nfor   \"%s\"\n", found.c_str(), expected);
        }
        CHECK(found == expected);
    };
    for (const char* expected : same_both_ways) {
        expect(expected, false);
        expect(expected, true);
    }
    for (const char* expected : together) {
        expect(expected, false);
    }
    for (const char* expected : apart) {
        expect(expected, true);
    }
    CHECK(joined("a\xff\xfe b", false) == "a|\xff\xfe| b"); // not UTF-8: characters of no kind
}

BpeTables tables() {
    BpeTables made;
    int id = 0;
    for (const std::string& spelling : llama::byte_spellings()) {
        made.vocabulary[spelling] = id++;
    }
    made.merges = {{"a", "b"},  {"b", "a"},   {"ab", "ab"}, {"a", "a"},
                   {"aa", "b"}, {"ba", "ab"}, {"ab", "a"}};
    for (const auto& [left, right] : made.merges) {
        made.vocabulary.emplace(left + right, id++);
    }
    made.special = {{"<s>", id}, {"<sep>", id + 1}};
    return made;
}

// Looks for the best pair again and again.
std::vector<int> merged_plainly(const BpeTables& from, const std::string& text) {
    std::vector<std::string> symbols;
    for (const char c : text) {
        symbols.push_back(std::string(1, c));
    }
    for (;;) {
        std::size_t best_rank = from.merges.size();
        std::size_t best = 0;
        for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
            for (std::size_t rank = 0; rank < best_rank; ++rank) {
                if (from.merges[rank] == std::pair(symbols[i], symbols[i + 1])) {
                    best_rank = rank;
                    best = i;
                }
            }
        }
        if (best_rank == from.merges.size()) {
            break;
        }
        symbols[best] += symbols[best + 1];
        symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    std::vector<int> tokens;
    for (const std::string& symbol : symbols) {
        tokens.push_back(from.vocabulary.at(symbol));
    }
    return tokens;
}

void merging() {
    const BpeTables from = tables();
    const llama::BpeTokenizer tokenizer(from);
    unsigned state = 7;
    for (int i = 0; i < 2000; ++i) {
        std::string text;
        for (int j = i % 30; j >= 0; --j) {
            state = state * 1664525U + 1013904223U;
            text += "aabbc"[(state >> 16) % 5];
        }
        const std::vector<int> found = tokenizer.encode(text);
        CHECK(found == merged_plainly(from, text));
        std::string decoded;
        for (const int token : found) {
            decoded += tokenizer.decode(token);
        }
        CHECK(decoded == text);
    }
    CHECK(tokenizer.decode(-1).empty() && tokenizer.decode(1 << 20).empty());
    // One long piece must not take quadratic time.
    CHECK(!tokenizer.encode(std::string(300000, 'a')).empty());
}

void specials() {
    const BpeTables from = tables();
    const llama::BpeTokenizer tokenizer(from);
    const int s = from.special.at("<s>");
    CHECK(tokenizer.special("<s>") == s && !tokenizer.special("<t>"));
    const std::vector<int> tokens = tokenizer.encode("<s>c<sep><s");
    CHECK(tokens.size() == 5 && tokens[0] == s && tokens[2] == s + 1 && tokens[3] == '<');
    CHECK(tokenizer.encode_plain("<s>").size() == 3);
    CHECK(tokenizer.decode(s).empty());
}

void write(const char* name, const std::string& text) { std::ofstream(name) << text; }

template <class Call> void refuses(const char* words, const Call& call) {
    try {
        call();
        CHECK(false);
    } catch (const std::runtime_error& e) {
        const bool says = std::string(e.what()).find(words) != std::string::npos;
        if (!says) {
            std::printf("said: %s\n", e.what());
        }
        CHECK(says);
    }
}

void files() {
    llama::Config config;
    config.vocab_size = 300;
    const auto open = [&] { return llama::open_tokenizer(".", config); };
    refuses("no tokenizer.json", open);
    config.vocab_size = 256;
    write("tokenizer_config.json", "{\"add_bos_token\": true}");
    config.bos_token = 3;
    CHECK(open()->bos == 3 && open()->encode("a\xff") == (std::vector<int>{97, 255}));
    write("vocab.json", "{\"a\": 0, \"b\": 1, \"ab\": 2, \"<x>\": 3}");
    refuses("merges.txt", open);
    write("merges.txt", "#version: 0.2\na b\n");
    CHECK(open()->encode("aab<x>") == (std::vector<int>{0, 2, 3}));
    write("merges.txt", "a c\n");
    refuses("lacks \"ac\"", open);
    const std::string model =
        "\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 5, \"b\": 6, \"ab\": 7}, "
        "\"merges\": [[\"a\", \"b\"]]}, \"added_tokens\": [{\"content\": \"<y>\", "
        "\"id\": 9}]";
    write("tokenizer.json", "{\"pre_tokenizer\": {\"type\": \"ByteLevel\"}, " + model + "}");
    CHECK(open()->encode("ab<y>a") == (std::vector<int>{7, 9, 5}));
    write("tokenizer.json", "{\"pre_tokenizer\": {\"type\": \"Metaspace\"}, " + model + "}");
    refuses("Metaspace", open);
    write("tokenizer.json", "{\"pre_tokenizer\": ");
    refuses("./tokenizer.json", open);
}

void json() {
    const llama::json::Value value = llama::json::parse(
        " {\"a\": [1, -2.5e3, true, null], \"\\u00e9\\ud83d\\ude00\": \"\\n\\\\\", \"\": {}} ");
    CHECK(value["a"].array()[1].number() == -2500 && value["a"].array()[3].is_null());
    CHECK(value["é😀"].string() == "\n\\" && value["none"].is_null());
    for (const char* bad : {"", "{", "[1,", "[1 2]", "{\"a\" 1}", "{a: 1}", "\"", "\"\\x\"",
                            "\"\\u12\"", "\"\\ud800\\u0041\"", "tru", "1 2", "nan", "[}"}) {
        refuses("JSON, byte", [bad] { llama::json::parse(bad); });
    }
    refuses("deep", [] { llama::json::parse(std::string(100000, '[')); });
    CHECK(llama::json::quote("a\"\\\n\xff é") == "\"a\\\"\\\\\\u000a\xef\xbf\xbd é\"");
}

} // namespace

int main() {
    return run([] {
        pieces();
        merging();
        specials();
        files();
        json();
    });
}
