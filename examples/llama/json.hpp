// A JSON reader, as small as config.json, vocab.json and tokenizer.json allow.
#ifndef LLAMA_JSON_HPP
#define LLAMA_JSON_HPP

#include <map>
#include <string>
#include <variant>
#include <vector>

namespace llama::json {

class Value;
using Array = std::vector<Value>;
using Object = std::map<std::string, Value>;

/// A JSON value. Accessors throw std::runtime_error when it is of another kind.
class Value {
  public:
    Value() = default;
    explicit Value(bool value) : data_(value) {}
    explicit Value(double value) : data_(value) {}
    explicit Value(std::string value) : data_(std::move(value)) {}
    explicit Value(Array value) : data_(std::move(value)) {}
    explicit Value(Object value) : data_(std::move(value)) {}

    bool is_null() const { return std::holds_alternative<std::monostate>(data_); }
    bool is_string() const { return std::holds_alternative<std::string>(data_); }
    bool is_number() const { return std::holds_alternative<double>(data_); }
    bool is_array() const { return std::holds_alternative<Array>(data_); }

    bool boolean() const;
    double number() const;
    const std::string& string() const;
    const Array& array() const;
    const Object& object() const;

    /// A member of an object; null if it has none of that name.
    const Value& operator[](const std::string& name) const;

  private:
    std::variant<std::monostate, bool, double, std::string, Array, Object> data_;
};

/// Parses a whole text. Throws std::runtime_error with the position of what is wrong.
Value parse(const std::string& text);

/// Reads and parses a file; the error names it.
Value parse_file(const std::string& path);

/// Text as a JSON string, quotes included; bytes that are not UTF-8 become U+FFFD.
std::string quote(const std::string& text);

} // namespace llama::json

#endif
