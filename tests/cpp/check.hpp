// What the C++ tests share.
#ifndef FOURBIT_TESTS_CHECK_HPP
#define FOURBIT_TESTS_CHECK_HPP

#include <fourbit/fourbit.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <vector>

inline int failures = 0;

inline void check_that(bool holds, const char* what, const char* file, int line) {
    if (holds) {
        return;
    }
    std::printf("%s:%d: does not hold: %s\n", file, line, what);
    ++failures;
}

/// An expression that must be true.
#define CHECK(condition) check_that(static_cast<bool>(condition), #condition, __FILE__, __LINE__)

/// Calls that must throw fourbit::error with a status and an error that says certain words.
template <class Call>
void check_throws(fourbit_status status, const std::string& words, const Call& call,
                  const char* file, int line) {
    try {
        call();
    } catch (const fourbit::error& e) {
        const bool says = std::string(e.what()).find(words) != std::string::npos;
        if (e.status() == status && says) {
            return;
        }
        std::printf("%s:%d: threw %s: %s\n", file, line, fourbit_status_name(e.status()), e.what());
        ++failures;
        return;
    }
    std::printf("%s:%d: nothing was thrown, expected %s\n", file, line,
                fourbit_status_name(status));
    ++failures;
}
#define THROWS(status, words, ...)                                                                 \
    check_throws(                                                                                  \
        FOURBIT_STATUS_##status, words, [&] { __VA_ARGS__; }, __FILE__, __LINE__)

/// Runs the test; what it throws is a failure.
template <class Test> int run(const Test& test) {
    try {
        test();
    } catch (const std::exception& e) {
        std::printf("unexpected: %s\n", e.what());
        ++failures;
    }
    if (failures != 0) {
        std::printf("%d checks failed\n", failures);
    }
    return failures == 0 ? 0 : 1;
}

/// Numbers from -1 to 1, the same everywhere.
inline std::vector<float> numbers(std::size_t count, unsigned seed = 1) {
    std::vector<float> out(count);
    unsigned state = seed * 2654435761U + 1;
    for (float& value : out) {
        state = state * 1664525U + 1013904223U;
        value = static_cast<float>(state >> 8) / 8388608.0F - 1.0F;
    }
    return out;
}

#endif
