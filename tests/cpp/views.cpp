// Views: from pointers, containers, spans, C tensors and DLPack tensors; what does not compile;
// what they become in C.
#include "check.hpp"

#include <array>
#include <type_traits>

namespace {

// DLPack's structs as dlpack.h has them; that header is not needed to view one.
enum DLDeviceType : std::int32_t { kDLCPU = 1 };
struct DLDevice {
    DLDeviceType device_type;
    std::int32_t device_id;
};
struct DLDataType {
    std::uint8_t code, bits;
    std::uint16_t lanes;
};
struct DLTensor {
    void* data;
    DLDevice device;
    std::int32_t ndim;
    DLDataType dtype;
    std::int64_t* shape;
    std::int64_t* strides;
    std::uint64_t byte_offset;
};

template <class T, class... Args> constexpr bool makes = std::is_constructible_v<T, Args...>;

// Constness is kept, and nothing is guessed for types without a dtype.
static_assert(makes<fourbit::const_view, const float*, fourbit::shape>);
static_assert(makes<fourbit::view, float*, fourbit::shape>);
static_assert(!makes<fourbit::view, const float*, fourbit::shape>);
static_assert(!makes<fourbit::view, const std::vector<float>&>);
static_assert(!makes<fourbit::view, fourbit::const_view>);
static_assert(makes<fourbit::const_view, fourbit::view>);
static_assert(!makes<fourbit::const_view, const std::string*, fourbit::shape>);
static_assert(!makes<fourbit::const_view, std::vector<std::string>>);

void shapes() {
    const std::size_t n = 3;
    const int k = 4;
    const fourbit::shape made{n, k, 5};
    CHECK(made.rank() == 3 && made[0] == 3 && made[2] == 5 && made.numel() == 60);
    CHECK(fourbit::shape().rank() == 0 && fourbit::shape().numel() == 1);
    CHECK(made == fourbit::shape(3, 4, 5) && made != fourbit::shape(3, 4) &&
          made != fourbit::shape(3, 4, 6));
    std::int64_t sum = 0;
    for (const std::int64_t size : made) {
        sum += size;
    }
    CHECK(sum == 12);
    const std::array<std::int64_t, 9> many{};
    THROWS(INVALID_ARGUMENT, "9 dimensions", fourbit::shape(many.data(), many.size()));
}

void same_tensor(const fourbit_tensor& tensor, const void* data, fourbit::dtype dtype,
                 const fourbit::shape& shape) {
    CHECK(tensor.data == data && fourbit::dtype(tensor.dtype) == dtype);
    CHECK(fourbit::shape(tensor.shape, static_cast<std::size_t>(tensor.ndim)) == shape);
}

void sources() {
    std::vector<float> vector(12);
    std::array<double, 4> array{};
    std::uint16_t halves[6] = {};
    same_tensor(fourbit::const_view(vector).c(), vector.data(), fourbit::float32, {12});
    same_tensor(fourbit::view(vector, {3, 4}).c(), vector.data(), fourbit::float32, {3, 4});
    same_tensor(fourbit::view(array).c(), array.data(), fourbit::float64, {4});
    same_tensor(fourbit::view(halves, fourbit::bfloat16, {2, 3}).c(), halves, fourbit::bfloat16,
                {2, 3});
    same_tensor(fourbit::view(halves, {6}).c(), halves, {FOURBIT_DTYPE_CODE_UINT, 16}, {6});
    THROWS(SHAPE_MISMATCH, "12 elements for a shape of 13", fourbit::view(vector, {13}));
#if __cplusplus >= 202002L
    const std::span<const float> span(vector);
    same_tensor(fourbit::const_view(span, {2, 6}).c(), vector.data(), fourbit::float32, {2, 6});
    same_tensor(fourbit::view(std::span<float>(vector)).c(), vector.data(), fourbit::float32, {12});
    CHECK(fourbit::const_view(vector).span<float>().data() == vector.data());
    CHECK(fourbit::const_view(vector).span<float>().size() == 12);
#endif
    CHECK(fourbit::const_view(vector).data_as<float>() == vector.data());
    THROWS(DTYPE_UNSUPPORTED, "dtype", fourbit::const_view(vector).data_as<std::int32_t>());
}

void strides() {
    std::vector<float> elements(12);
    fourbit::view turned(elements, {4, 3});
    turned.set_strides({1, 4});
    const fourbit_tensor tensor = turned.c();
    CHECK(tensor.strides[0] == 1 && tensor.strides[1] == 4 && turned.has_strides());
    THROWS(SHAPE_MISMATCH, "1 strides for 2", turned.set_strides({1}));
    THROWS(DTYPE_UNSUPPORTED, "strides", turned.data_as<float>());
    // A copy points into itself, not into what it was copied from.
    const fourbit::view copy = turned;
    CHECK(copy.c().shape != tensor.shape && copy.c().strides[1] == 4);
}

void from_c() {
    std::vector<float> elements(24);
    std::int64_t sizes[2] = {2, 3};
    std::int64_t steps[2] = {4, 1};
    DLTensor dl{elements.data(), {kDLCPU, 0}, 2, {2, 32, 1}, sizes, steps, 16};
    const fourbit::view view(dl);
    same_tensor(view.c(), elements.data(), fourbit::float32, {2, 3});
    CHECK(view.data() == elements.data() + 4 && view.c().byte_offset == 16);
    CHECK(view.c().strides[0] == 4 && view.device().kind == FOURBIT_DEVICE_KIND_CPU);
    dl.ndim = 9;
    THROWS(INVALID_ARGUMENT, "ndim is 9", fourbit::const_view{dl});

    fourbit_tensor tensor = view.c();
    const fourbit::const_view again(tensor);
    same_tensor(again.c(), elements.data(), fourbit::float32, {2, 3});
    tensor.ndim = -1;
    THROWS(INVALID_ARGUMENT, "ndim is -1", fourbit::const_view{tensor});
    tensor = view.c();
    fourbit::view elsewhere(tensor);
    CHECK(elsewhere.set_device({FOURBIT_DEVICE_KIND_CUDA, 2}).c().device.index == 2);
}

void dtypes() {
    static_assert(fourbit::dtype_of<float>::value == fourbit::float32);
    static_assert(fourbit::dtype_of<std::uint8_t>::value == fourbit::uint8);
    static_assert(fourbit::dtype_of<bool>::value.code == FOURBIT_DTYPE_CODE_BOOL);
    static_assert(fourbit::dtype_of<std::int64_t>::value ==
                  fourbit::dtype(FOURBIT_DTYPE_CODE_INT, 64));
    static_assert(fourbit::bfloat16 != fourbit::float16 && fourbit::bfloat16.size() == 2);
    static_assert(fourbit::dtype() == fourbit_dtype{0, 0, 0});
}

} // namespace

int main() {
    return run([] {
        shapes();
        sources();
        strides();
        from_c();
        dtypes();
    });
}
