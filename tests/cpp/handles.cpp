// Owning handles: width, moves, release and adoption, objects that outlive what they came from, and
// errors that carry the library's words.
#include "check.hpp"

#include <type_traits>
#include <utility>

namespace {

template <class T> void owns_like_a_pointer() {
    static_assert(sizeof(T) == sizeof(void*), "one pointer wide");
    static_assert(!std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>, "one owner");
    static_assert(std::is_nothrow_move_constructible_v<T>, "moves");
    static_assert(std::is_nothrow_move_assignable_v<T>, "moves");
    static_assert(std::is_nothrow_destructible_v<T>, "destroys");
}

void ownership() {
    owns_like_a_pointer<fourbit::context>();
    owns_like_a_pointer<fourbit::quantizer>();
    owns_like_a_pointer<fourbit::weight>();
    owns_like_a_pointer<fourbit::checkpoint>();
    owns_like_a_pointer<fourbit::plan>();
    owns_like_a_pointer<fourbit::writer>();

    fourbit::context a;
    fourbit_context* const c = a.c();
    fourbit::context b(std::move(a));
    CHECK(b.c() == c && !a && b);
    THROWS(INVALID_ARGUMENT, "fourbit_context must not be NULL", a.threads());
    a = std::move(b);
    CHECK(a.c() == c && !b);

    fourbit_context* const released = a.release();
    CHECK(released == c && !a);
    const fourbit::context adopted(released);
    CHECK(adopted.threads() > 0);
}

// Every object keeps alive what it uses.
fourbit::weight outlives_its_makers() {
    const fourbit::context on({{}, 3});
    const fourbit::quantizer quantizer(on);
    const std::vector<float> source = numbers(256);
    return fourbit::quantize(quantizer, {source, {4, 64}});
}

void lifetimes() {
    const fourbit::weight weight = outlives_its_makers();
    const fourbit::context other;
    std::vector<float> decoded(256);
    fourbit::dequantize(other, weight, {decoded, {4, 64}});
    CHECK(decoded[0] != 0);
    const fourbit::weight copy = weight.copy_to(other);
    CHECK(copy.c() != weight.c() && copy.shape() == weight.shape());
}

void errors() {
    const fourbit::context on;
    try {
        fourbit::check(fourbit_context_query(nullptr, nullptr, nullptr));
        CHECK(false);
    } catch (const fourbit::error& e) {
        CHECK(e.status() == FOURBIT_STATUS_INVALID_ARGUMENT);
        CHECK(std::string(e.what()) == fourbit_last_error());
        CHECK(fourbit::status_name(e.status()) == "invalid argument");
    }
    // The words are the exception's own: later failures do not change them.
    try {
        fourbit::check(fourbit_context_query(nullptr, nullptr, nullptr));
    } catch (const fourbit::error& e) {
        const std::string before = e.what();
        THROWS(INVALID_ARGUMENT, "block size",
               fourbit::quantizer(on, {FOURBIT_QUANT_TYPE_NF4, 48}));
        CHECK(before == e.what());
    }
    CHECK(noexcept(fourbit::version()) && fourbit::version() == fourbit_version());
    CHECK(fourbit::abi_version() == FOURBIT_ABI_VERSION);
    CHECK(!fourbit::build_info().empty());
    CHECK((fourbit::cpu_features() & 1U << FOURBIT_CPU_ISA_PORTABLE) != 0);
    CHECK(fourbit::device_count(FOURBIT_DEVICE_KIND_CPU) == 1);
    CHECK(fourbit::device_info(on.device()).processors > 0);
    THROWS(DEVICE_UNAVAILABLE, "cuda", fourbit::context({{FOURBIT_DEVICE_KIND_CUDA, 1000}, 1}));
}

void memory() {
    const fourbit::context on;
    fourbit::memory block(on, 1024);
    CHECK(reinterpret_cast<std::uintptr_t>(block.data()) % FOURBIT_ALIGNMENT == 0);
    fourbit::memory moved(std::move(block));
    CHECK(block.data() == nullptr && moved.data() != nullptr);
    const std::vector<float> source = numbers(256);
    fourbit::copy(on, source, fourbit::view(moved.data(), fourbit::float32, {256}));
    CHECK(std::equal(source.begin(), source.end(), static_cast<const float*>(moved.data())));
    THROWS(OUT_OF_MEMORY, "bytes", fourbit::memory(on, SIZE_MAX / 4));
}

} // namespace

int main() {
    return run([] {
        ownership();
        lifetimes();
        errors();
        memory();
    });
}
