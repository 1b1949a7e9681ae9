// UTF-8, and the few classes of characters that tokenizers tell apart.
#ifndef LLAMA_UTF8_HPP
#define LLAMA_UTF8_HPP

#include <string>
#include <vector>

namespace llama {

struct CodePoint {
    char32_t value;
    /// Where its bytes start and end in the text.
    std::size_t begin;
    std::size_t end;
};

/// The code points of a text; a byte that is not UTF-8 counts as one U+FFFD.
std::vector<CodePoint> code_points(const std::string& text);

/// Appends a code point in UTF-8 (U+FFFD for a lone surrogate).
void append_utf8(std::string& out, char32_t code_point);

/// White space, as \s of a regular expression has it.
bool is_space(char32_t c);

/// \p{N}: exact for ASCII; beyond it the digits of the scripts most in use.
bool is_number(char32_t c);

/// \p{L}: exact for ASCII and Latin-1; beyond it everything but the blocks of marks, punctuation
/// and symbols.
bool is_letter(char32_t c);

} // namespace llama

#endif
