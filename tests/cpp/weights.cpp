// Quantizing, decoding, multiplying, parts and images through the C++ header, against the C calls
// or a plain sum.
#include "check.hpp"

#include <cmath>

// The struct that dlpack.h defines; to_dlpack() needs to see it.
struct DLManagedTensorVersioned {
    std::uint32_t major, minor;
    void* manager_ctx;
    void (*deleter)(DLManagedTensorVersioned*);
    std::uint64_t flags;
    fourbit_tensor dl_tensor;
};

namespace {

constexpr std::size_t kM = 3;
constexpr std::size_t kN = 24;
constexpr std::size_t kK = 96;

struct Fixture {
    fourbit::context on;
    fourbit::quantizer quantizer{on, {FOURBIT_QUANT_TYPE_NF4, 64, true}};
    std::vector<float> source = numbers(kN * kK);
    fourbit::weight weight = fourbit::quantize(quantizer, {source, {kN, kK}});
    std::vector<float> decoded = std::vector<float>(kN * kK);

    Fixture() { fourbit::dequantize(on, weight, {decoded, {kN, kK}}); }
};

void descriptions(const Fixture& f) {
    const fourbit_weight_info info = f.weight.info();
    CHECK(info.block_size == 64 && info.double_quant == 1 && info.element_count == kN * kK);
    CHECK(f.weight.shape() == fourbit::shape(kN, kK));
    const fourbit_quantizer_info quantizer = f.quantizer.info();
    CHECK(quantizer.quant_type == FOURBIT_QUANT_TYPE_NF4 && quantizer.is_serializable == 1);
    CHECK(f.quantizer.bytes_for(kN * kK) < info.byte_size + 1);
    const fourbit_quant_error error = fourbit::measure(f.on, {f.source, {kN, kK}}, f.weight);
    double largest = 0;
    for (std::size_t i = 0; i < f.source.size(); ++i) {
        largest = std::fmax(largest, std::fabs(double(f.source[i]) - double(f.decoded[i])));
    }
    CHECK(std::fabs(error.max_error - largest) < 1e-9 && error.count == f.source.size());
}

void parts(const Fixture& f) {
    CHECK(f.weight.part_count() == 6);
    std::vector<fourbit::named_part> list;
    for (std::size_t i = 0; i < f.weight.part_count(); ++i) {
        const fourbit::weight_part part = f.weight.part(i);
        list.push_back({std::string(part.name), part.tensor});
    }
    CHECK(list[0].name.empty() && list[0].tensor.shape() == fourbit::shape(kN * kK / 2, 1));
    const fourbit::weight again = fourbit::weight::from_parts(f.on, list);
    CHECK(again.serialize() == f.weight.serialize());
    list.pop_back();
    THROWS(FORMAT, "", fourbit::weight::from_parts(f.on, list));
    THROWS(NOT_FOUND, "part 6", f.weight.part(6));

    std::vector<std::uint8_t> image = f.weight.serialize();
    CHECK(fourbit::weight::deserialize(f.on, image).serialize() == image);
    image.pop_back();
    THROWS(FORMAT, "", fourbit::weight::deserialize(f.on, image));

    auto managed = f.weight.to_dlpack(0);
    CHECK(managed->dl_tensor.data == f.weight.part(0).tensor.data());
    const fourbit::const_view seen(managed->dl_tensor);
    CHECK(seen.dtype() == fourbit::uint8);
}

double reference(const Fixture& f, const std::vector<float>& x, std::size_t row, std::size_t n) {
    double sum = 0;
    for (std::size_t k = 0; k < kK; ++k) {
        sum += double(x[row * kK + k]) * double(f.decoded[n * kK + k]);
    }
    return sum;
}

void products(const Fixture& f) {
    const std::vector<float> x = numbers(kM * kK, 2);
    const std::vector<float> bias = numbers(kN, 3);
    std::vector<float> y(kM * kN);
    fourbit::gemm(f.on, {x, {kM, kK}}, f.weight, {y, {kM, kN}});
    fourbit::gemm(f.on, {x, {kM, kK}}, f.weight, bias, {y, {kM, kN}}, {false, true});
    double worst = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
        const double expected = 2 * reference(f, x, i / kN, i % kN) + double(bias[i % kN]);
        worst = std::fmax(worst, std::fabs(expected - double(y[i])));
    }
    CHECK(worst < 1e-4);

    // The gradient with respect to the input.
    std::vector<float> gradient(kM * kK);
    fourbit::gemm(f.on, {y, {kM, kN}}, f.weight, {gradient, {kM, kK}}, {true});
    worst = 0;
    for (std::size_t i = 0; i < gradient.size(); ++i) {
        double expected = 0;
        for (std::size_t n = 0; n < kN; ++n) {
            expected += double(y[i / kK * kN + n]) * double(f.decoded[n * kK + i % kK]);
        }
        worst = std::fmax(worst, std::fabs(expected - double(gradient[i])));
    }
    CHECK(worst < 1e-3);
    THROWS(SHAPE_MISMATCH, "expected last dimension 96",
           fourbit::gemm(f.on, {x, {kK, kM}}, f.weight, {y, {kM, kN}}));
}

void grouped(const Fixture& f) {
    const std::vector<float> x = numbers(kM * kK, 4);
    std::vector<float> expected(kM * kN);
    std::vector<float> found(kM * kN);
    const fourbit::weight other = fourbit::quantize(f.quantizer, {numbers(kN * kK, 9), {kN, kK}});
    fourbit::gemm(f.on, {x.data(), {1, kK}}, f.weight, {expected.data(), {1, kN}});
    fourbit::gemm(f.on, {x.data() + kK, {2, kK}}, other, {expected.data() + kN, {2, kN}});
    fourbit::grouped_gemm(f.on, {x, {kM, kK}}, {0, 1, 3}, {&f.weight, &other}, {found, {kM, kN}});
    CHECK(expected == found);
    THROWS(
        INVALID_ARGUMENT, "2 offsets for 2 experts",
        fourbit::grouped_gemm(f.on, {x, {kM, kK}}, {0, 3}, {&f.weight, &other}, {found, {kM, kN}}));
    THROWS(INVALID_ARGUMENT, "must not be NULL",
           fourbit::grouped_gemm(f.on, {x, {kM, kK}}, {0, 1, 3}, {&f.weight, nullptr},
                                 {found, {kM, kN}}));
}

void configurations(const Fixture& f) {
    fourbit::quant_options options;
    options.quant_type = FOURBIT_QUANT_TYPE_FP4;
    options.skip_modules = {"lm_head", "gate"};
    const fourbit::quantizer made(f.on, options);
    const std::string json = made.to_json();
    CHECK(json.find("\"fp4\"") != std::string::npos && json.find("\"gate\"") != std::string::npos);
    CHECK(fourbit::quantizer::from_json(f.on, json).to_json() == json);
    options.skip_modules = std::vector<std::string>();
    CHECK(fourbit::quantizer(f.on, options).to_json().find("\"llm_int8_skip_modules\": []") !=
          std::string::npos);
    options.skip_modules.reset();
    CHECK(fourbit::quantizer(f.on, options).to_json().find("\"llm_int8_skip_modules\": null") !=
          std::string::npos);
}

} // namespace

int main() {
    return run([] {
        const Fixture fixture;
        descriptions(fixture);
        parts(fixture);
        products(fixture);
        grouped(fixture);
        configurations(fixture);
    });
}
