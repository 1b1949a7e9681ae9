// Errors and owned handles: what every other part of fourbit.hpp stands on.
#ifndef FOURBIT_CPP_HANDLE_HPP
#define FOURBIT_CPP_HANDLE_HPP

#include <fourbit/fourbit.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace fourbit {

/// Thrown by every call that fails. what() has the library's words: the tensor, file, field and
/// value at fault.
class error : public std::runtime_error {
  public:
    /// A failure with a status and words of your own.
    error(fourbit_status status, const std::string& words)
        : std::runtime_error(words), status_(status) {}

    /// The C status, never FOURBIT_STATUS_OK.
    fourbit_status status() const noexcept { return status_; }

  private:
    fourbit_status status_;
};

/// Throws fourbit::error if a C call failed. To be called on the thread that made the call, before
/// it makes another.
inline void check(fourbit_status status) {
    if (status != FOURBIT_STATUS_OK) {
        throw error(status, fourbit_last_error());
    }
}

/// A C struct that starts with `struct_size`, with that field set and all others zero.
template <class T> T sized() noexcept {
    T value{};
    value.struct_size = static_cast<decltype(value.struct_size)>(sizeof(T));
    return value;
}

namespace detail {

template <class C, void (*Destroy)(C*)> struct deleter {
    void operator()(C* handle) const noexcept { Destroy(handle); }
};

/// The move-only owner of one C handle, one pointer wide. Empty after a move or release(); the
/// library refuses an empty one with FOURBIT_STATUS_INVALID_ARGUMENT.
template <class C, void (*Destroy)(C*)> class handle {
  public:
    /// The C handle, lent: still owned here.
    C* c() noexcept { return owned_.get(); }
    const C* c() const noexcept { return owned_.get(); }

    /// Gives the C handle up; the caller must destroy it.
    C* release() noexcept { return owned_.release(); }

    /// Whether there is a handle.
    explicit operator bool() const noexcept { return owned_ != nullptr; }

  protected:
    explicit handle(C* owned) noexcept : owned_(owned) {}

  private:
    std::unique_ptr<C, deleter<C, Destroy>> owned_;
};

/// Calls `create(args..., &out)` and returns what came out.
template <class C, class... Params, class... Args>
C* make(fourbit_status (*create)(Params...), Args... args) {
    C* out = nullptr;
    check(create(args..., &out));
    return out;
}

/// Collects text of unknown length: `write(buffer, capacity, &length)` is called twice.
template <class Write> std::string text(Write&& write) {
    std::size_t length = 0;
    check(write(nullptr, std::size_t{0}, &length));
    // One more for the NUL, which the library writes and a string has beyond its end.
    std::string out(length + 1, '\0');
    check(write(&out[0], out.size(), &length));
    out.resize(length);
    return out;
}

/// What a search found, if it did: `find(&index)`. Throws if it failed otherwise.
template <class Find> std::optional<std::size_t> found(Find&& find) {
    std::size_t index = 0;
    const fourbit_status status = find(&index);
    if (status == FOURBIT_STATUS_NOT_FOUND) {
        return std::nullopt;
    }
    check(status);
    return index;
}

/// Strings as C takes them, as long as the strings live. NULL if there is no list, which is not the
/// same as an empty one.
class c_strings {
  public:
    explicit c_strings(const std::optional<std::vector<std::string>>& strings)
        : size_(strings ? strings->size() : 0) {
        if (!strings) {
            return;
        }
        for (const std::string& string : *strings) {
            pointers_.push_back(string.c_str());
        }
        pointers_.push_back(nullptr);
    }

    const char* const* data() const noexcept {
        return pointers_.empty() ? nullptr : pointers_.data();
    }
    std::size_t size() const noexcept { return size_; }

  private:
    std::vector<const char*> pointers_;
    std::size_t size_;
};

} // namespace detail
} // namespace fourbit

#endif // FOURBIT_CPP_HANDLE_HPP
