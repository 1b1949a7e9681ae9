#include "json.hpp"

#include "utf8.hpp"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace llama::json {

namespace {

constexpr int kMaxDepth = 100;

class Parser {
  public:
    explicit Parser(const std::string& text) : text_(text) {}

    Value whole() {
        Value result = value(0);
        if (skip_space() != '\0' || at_ != text_.size()) {
            fail("text after the value");
        }
        return result;
    }

  private:
    [[noreturn]] void fail(const std::string& words) const {
        throw std::runtime_error("JSON, byte " + std::to_string(at_) + ": " + words);
    }

    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    char skip_space() {
        while (at_ < text_.size() && std::strchr(" \t\r\n", text_[at_]) != nullptr &&
               text_[at_] != '\0') {
            ++at_;
        }
        return peek();
    }

    void expect(char c) {
        if (skip_space() != c) {
            fail(std::string("expected '") + c + "'");
        }
        ++at_;
    }

    Value value(int depth) {
        if (depth > kMaxDepth) {
            fail("nested too deeply");
        }
        switch (skip_space()) {
        case '{':
            return object(depth);
        case '[':
            return array(depth);
        case '"':
            return Value(string());
        case 't':
            return word("true", Value(true));
        case 'f':
            return word("false", Value(false));
        case 'n':
            return word("null", Value());
        default:
            return number();
        }
    }

    Value word(const char* expected, Value meaning) {
        if (text_.compare(at_, std::strlen(expected), expected) != 0) {
            fail("unknown word");
        }
        at_ += std::strlen(expected);
        return meaning;
    }

    Value number() {
        const char* begin = text_.c_str() + at_;
        char* end = nullptr;
        const double result = std::strtod(begin, &end);
        if (end == begin || std::strchr("-0123456789", *begin) == nullptr) {
            fail("expected a value");
        }
        at_ += static_cast<std::size_t>(end - begin);
        return Value(result);
    }

    Value array(int depth) {
        Array items;
        expect('[');
        if (skip_space() == ']') {
            return ++at_, Value(items);
        }
        for (;;) {
            items.push_back(value(depth + 1));
            if (skip_space() == ']') {
                return ++at_, Value(std::move(items));
            }
            expect(',');
        }
    }

    Value object(int depth) {
        Object members;
        expect('{');
        if (skip_space() == '}') {
            return ++at_, Value(members);
        }
        for (;;) {
            if (skip_space() != '"') {
                fail("expected a name in quotes");
            }
            std::string name = string();
            expect(':');
            members[std::move(name)] = value(depth + 1);
            if (skip_space() == '}') {
                return ++at_, Value(std::move(members));
            }
            expect(',');
        }
    }

    std::string string() {
        std::string out;
        for (++at_; peek() != '"'; ++at_) {
            if (at_ >= text_.size()) {
                fail("a string does not end");
            }
            if (peek() != '\\') {
                out += peek();
                continue;
            }
            ++at_;
            const char* simple = std::strchr("\"\"\\\\//b\bf\fn\nr\rt\t", peek());
            if (peek() == 'u') {
                append_utf8(out, escaped_code_point());
            } else if (simple != nullptr && peek() != '\0') {
                out += simple[1];
            } else {
                fail("unknown escape");
            }
        }
        ++at_;
        return out;
    }

    // At the 'u' of \uXXXX; ends on the last digit. Two surrogates make one code point.
    char32_t escaped_code_point() {
        const char32_t high = four_digits();
        const bool is_pair =
            high >= 0xd800 && high < 0xdc00 && text_.compare(at_ + 1, 2, "\\u") == 0;
        if (!is_pair) {
            return high;
        }
        at_ += 2;
        const char32_t low = four_digits();
        if (low < 0xdc00 || low >= 0xe000) {
            fail("half of a surrogate pair");
        }
        return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
    }

    char32_t four_digits() {
        const std::string digits = text_.substr(at_ + 1, 4);
        char* end = nullptr;
        const unsigned long code = std::strtoul(digits.c_str(), &end, 16);
        if (digits.size() != 4 || *end != '\0' || end != digits.c_str() + 4) {
            fail("expected four hexadecimal digits");
        }
        at_ += 4;
        return static_cast<char32_t>(code);
    }

    const std::string& text_;
    std::size_t at_ = 0;
};

template <class T, class Data> const T& get(const Data& data, const char* kind) {
    const T* value = std::get_if<T>(&data);
    if (value == nullptr) {
        throw std::runtime_error(std::string("expected ") + kind);
    }
    return *value;
}

} // namespace

bool Value::boolean() const { return get<bool>(data_, "true or false"); }
double Value::number() const { return get<double>(data_, "a number"); }
const std::string& Value::string() const { return get<std::string>(data_, "a string"); }
const Array& Value::array() const { return get<Array>(data_, "an array"); }
const Object& Value::object() const { return get<Object>(data_, "an object"); }

const Value& Value::operator[](const std::string& name) const {
    static const Value null;
    const Object& members = object();
    const auto found = members.find(name);
    return found == members.end() ? null : found->second;
}

Value parse(const std::string& text) { return Parser(text).whole(); }

Value parse_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    if (!(file && text << file.rdbuf())) {
        throw std::runtime_error("cannot read " + path);
    }
    try {
        return parse(text.str());
    } catch (const std::runtime_error& e) {
        throw std::runtime_error(path + ": " + e.what());
    }
}

std::string quote(const std::string& text) {
    std::string out = "\"";
    for (const CodePoint& c : code_points(text)) {
        if (c.value == '"' || c.value == '\\') {
            out += {'\\', static_cast<char>(c.value)};
        } else if (c.value < 0x20) {
            const char* digits = "0123456789abcdef";
            out += {'\\', 'u', '0', '0', digits[c.value >> 4], digits[c.value & 15]};
        } else {
            append_utf8(out, c.value);
        }
    }
    return out + '"';
}

} // namespace llama::json
