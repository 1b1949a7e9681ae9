// GPT-2's rule for cutting text before byte-pair encoding, by hand instead of by this expression:
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

#include "bpe.hpp"
#include "utf8.hpp"

namespace llama {

namespace {

enum class Kind { letter, number, other, space };

Kind kind_of(char32_t c) {
    if (is_space(c)) {
        return Kind::space;
    }
    if (is_number(c)) {
        return Kind::number;
    }
    return is_letter(c) ? Kind::letter : Kind::other;
}

/// The pieces of the code points from `begin` to `end`, a text of its own.
class Splitter {
  public:
    Splitter(const std::vector<CodePoint>& points, std::size_t begin, std::size_t end,
             std::vector<std::size_t>& ends)
        : points_(points), at_(begin), end_(end), ends_(ends) {}

    void run() {
        while (at_ < end_) {
            at_ = next();
            ends_.push_back(points_[at_ - 1].end);
        }
    }

  private:
    Kind kind(std::size_t i) const { return kind_of(points_[i].value); }

    std::size_t skip(std::size_t from, Kind wanted) const {
        while (from < end_ && kind(from) == wanted) {
            ++from;
        }
        return from;
    }

    /// The end of the piece that starts here.
    std::size_t next() const {
        if (const std::size_t length = contraction()) {
            return at_ + length;
        }
        const bool blank = points_[at_].value == ' ' && at_ + 1 < end_;
        const std::size_t word = at_ + (blank ? 1 : 0);
        if (kind(word) != Kind::space) {
            return skip(word, kind(word));
        }
        // White space up to the last one before a word: that one belongs to the word or stands
        // alone.
        const std::size_t after = skip(at_, Kind::space);
        return after < end_ && after - at_ > 1 ? after - 1 : after;
    }

    std::size_t contraction() const {
        if (points_[at_].value != '\'') {
            return 0;
        }
        for (const char* ending : {"s", "t", "re", "ve", "m", "ll", "d"}) {
            std::size_t i = 0;
            while (ending[i] != '\0' && at_ + 1 + i < end_ &&
                   points_[at_ + 1 + i].value == static_cast<char32_t>(ending[i])) {
                ++i;
            }
            if (ending[i] == '\0') {
                return 1 + i;
            }
        }
        return 0;
    }

    const std::vector<CodePoint>& points_;
    std::size_t at_;
    std::size_t end_;
    std::vector<std::size_t>& ends_;
};

} // namespace

std::vector<std::size_t> split_pieces(const std::string& text, bool split_digits) {
    const std::vector<CodePoint> points = code_points(text);
    std::vector<std::size_t> ends;
    std::size_t begin = 0;
    for (std::size_t i = 0; split_digits && i < points.size(); ++i) {
        if (!is_number(points[i].value)) {
            continue;
        }
        Splitter(points, begin, i, ends).run();
        Splitter(points, i, i + 1, ends).run();
        begin = i + 1;
    }
    Splitter(points, begin, points.size(), ends).run();
    return ends;
}

} // namespace llama
