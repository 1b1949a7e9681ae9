#include "utf8.hpp"

#include <algorithm>
#include <cstring>

namespace llama {

namespace {

struct Range {
    char32_t first;
    char32_t last;
};

template <std::size_t N> bool contains(const Range (&ranges)[N], char32_t c) {
    return std::any_of(ranges, ranges + N, [c](Range r) { return c >= r.first && c <= r.last; });
}

/// The length that a first byte announces; 0 if it cannot be one.
std::size_t announced_length(unsigned char first) {
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xc2 && first < 0xe0) {
        return 2;
    }
    if (first >= 0xe0 && first < 0xf0) {
        return 3;
    }
    return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

CodePoint decode(const std::string& text, std::size_t at) {
    const CodePoint bad{0xfffd, at, at + 1};
    const auto first = static_cast<unsigned char>(text[at]);
    const std::size_t length = announced_length(first);
    if (length == 0 || at + length > text.size()) {
        return bad;
    }
    char32_t value = length == 1 ? first : first & (0xffU >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) {
        const auto next = static_cast<unsigned char>(text[at + i]);
        if ((next & 0xc0) != 0x80) {
            return bad;
        }
        value = value << 6 | (next & 0x3fU);
    }
    const char32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const bool is_surrogate = value >= 0xd800 && value < 0xe000;
    if (value < smallest[length] || value > 0x10ffff || is_surrogate) {
        return bad;
    }
    return CodePoint{value, at, at + length};
}

} // namespace

std::vector<CodePoint> code_points(const std::string& text) {
    std::vector<CodePoint> out;
    for (std::size_t at = 0; at < text.size(); at = out.back().end) {
        out.push_back(decode(text, at));
    }
    return out;
}

void append_utf8(std::string& out, char32_t c) {
    const auto tail = [&](unsigned shift) { out += static_cast<char>(0x80 | (c >> shift & 0x3f)); };
    if (c >= 0xd800 && c < 0xe000) {
        c = 0xfffd;
    }
    if (c < 0x80) {
        out += static_cast<char>(c);
    } else if (c < 0x800) {
        out += static_cast<char>(0xc0 | c >> 6);
        tail(0);
    } else if (c < 0x10000) {
        out += static_cast<char>(0xe0 | c >> 12);
        tail(6);
        tail(0);
    } else {
        out += static_cast<char>(0xf0 | c >> 18);
        tail(12);
        tail(6);
        tail(0);
    }
}

bool is_space(char32_t c) {
    static constexpr Range spaces[] = {
        {0x09, 0x0d},     {0x20, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},     {0x1680, 0x1680},
        {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};
    return contains(spaces, c);
}

bool is_number(char32_t c) {
    static constexpr Range numbers[] = {
        {'0', '9'},       {0xb2, 0xb3},     {0xb9, 0xb9},     {0xbc, 0xbe},
        {0x660, 0x669},   {0x6f0, 0x6f9},   {0x966, 0x96f},   {0x9e6, 0x9ef},
        {0xe50, 0xe59},   {0x2070, 0x2070}, {0x2074, 0x2079}, {0x2080, 0x2089},
        {0x2150, 0x218b}, {0x2460, 0x249b}, {0x3021, 0x3029}, {0xff10, 0xff19}};
    return contains(numbers, c);
}

bool is_letter(char32_t c) {
    if (c < 0x80) {
        return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    }
    if (c < 0x100) {
        return c == 0xaa || c == 0xb5 || c == 0xba || (c >= 0xc0 && c != 0xd7 && c != 0xf7);
    }
    static constexpr Range others[] = {
        {0x2c2, 0x2c5},   {0x2d2, 0x2df},   {0x300, 0x36f},     {0x37e, 0x37e},
        {0x387, 0x387},   {0x483, 0x489},   {0x55a, 0x55f},     {0x589, 0x5c7},
        {0x5f3, 0x5f4},   {0x600, 0x61f},   {0x64b, 0x65f},     {0x66a, 0x66d},
        {0x6d4, 0x6d4},   {0x6d6, 0x6e4},   {0x900, 0x903},     {0x93a, 0x94f},
        {0x964, 0x965},   {0x2010, 0x2070}, {0x207a, 0x208e},   {0x20a0, 0x20ff},
        {0x2190, 0x2bff}, {0x2e00, 0x2e7f}, {0x3001, 0x3004},   {0x3008, 0x3020},
        {0x302a, 0x3030}, {0x30a0, 0x30a0}, {0x30fb, 0x30fb},   {0xd800, 0xf8ff},
        {0xfe00, 0xfe6f}, {0xff00, 0xff0f}, {0xff1a, 0xff20},   {0xff3b, 0xff40},
        {0xff5b, 0xff65}, {0xffe0, 0xffff}, {0x1f000, 0x1ffff}, {0xe0000, 0x10ffff}};
    return !is_space(c) && !is_number(c) && !contains(others, c);
}

} // namespace llama
