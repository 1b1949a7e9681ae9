// A planned model in memory through the C++ header.
#include "check.hpp"

#include <stdexcept>
#include <thread>

namespace {

const char* const kUp = "model.layers.2.mlp.up_proj.weight";
const char* const kNorm = "model.norm.weight";

void loading(const fourbit::quantizer& quantizer, const fourbit::checkpoint& source) {
    int calls = 0;
    const fourbit::model model(quantizer, source, {}, [&](const fourbit::progress& now) {
        ++calls;
        CHECK(now.phase == FOURBIT_PHASE_LOAD && now.bytes_done <= now.bytes_total);
        return true;
    });
    CHECK(calls > 0 && model.size() == 48);
    const auto index = model.find(kUp);
    CHECK(index && !model.find("nothing"));
    const fourbit::model_entry entry = model.entry(*index);
    CHECK(entry.name == kUp && entry.is_weight && entry.dtype == fourbit::bfloat16);
    CHECK(entry.shape == fourbit::shape(352, 128) && !entry.device);
    CHECK(model.weight(kUp).shape() == entry.shape);
    CHECK(model.tensor(kNorm).data() == source.tensor(*source.find(kNorm)).data());
    THROWS(INVALID_ARGUMENT, "as a tensor", model.weight(kNorm));
    THROWS(NOT_FOUND, "nothing", model.tensor("nothing"));
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&] { CHECK(model.weight(kUp).part_count() == 6); });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
}

void planned(const fourbit::quantizer& quantizer, const fourbit::checkpoint& source) {
    fourbit::plan_options options;
    options.dtype = fourbit::float32;
    options.device_map = "fit";
    options.max_memory = "cpu=200KiB";
    options.offload = true;
    const fourbit::plan plan(quantizer, source, options);
    const fourbit::model model(quantizer, source, plan);
    std::size_t on_disk = 0;
    for (std::size_t i = 0; i < model.size(); ++i) {
        on_disk += model.entry(i).device == "disk" ? 1 : 0;
    }
    CHECK(on_disk > 0 && on_disk < model.size());
    std::vector<float> values(128);
    model.read(kNorm, {values, {128}});
    CHECK(values[0] != 0.0F);
    fourbit::load_options limited;
    limited.max_memory = 1;
    THROWS(OUT_OF_MEMORY, "max_memory", fourbit::model(quantizer, source, plan, limited));
}

struct Surprise : std::runtime_error {
    using std::runtime_error::runtime_error;
};

void interrupting(const fourbit::quantizer& quantizer, const fourbit::checkpoint& source) {
    THROWS(CANCELLED, "",
           fourbit::model(quantizer, source, {}, [](const fourbit::progress&) { return false; }));
    bool caught = false;
    try {
        fourbit::model(quantizer, source, {}, [](const fourbit::progress&) -> bool {
            throw Surprise("from the callback");
        });
    } catch (const Surprise& e) {
        caught = std::string(e.what()) == "from the callback";
    }
    CHECK(caught);
}

void experts(const fourbit::context& on, const fourbit::quantizer& quantizer) {
    const std::vector<float> source = numbers(3 * 32 * 64);
    std::vector<fourbit::weight> each;
    {
        const fourbit::weight fused = fourbit::quantize(quantizer, {source, {3, 32, 64}});
        for (std::uint64_t e = 0; e < 3; ++e) {
            each.push_back(fused.expert(e));
        }
        THROWS(INVALID_ARGUMENT, "expert 3", fused.expert(3));
    }
    const std::vector<float> input = numbers(4 * 64, 2);
    std::vector<float> grouped(4 * 32);
    std::vector<float> alone(32);
    fourbit::grouped_gemm(on, {input, {4, 64}}, {0, 1, 3, 4}, {&each[0], &each[1], &each[2]},
                          {grouped, {4, 32}});
    fourbit::gemm(on, {input.data() + 3 * 64, {1, 64}}, each[2], {alone, {1, 32}});
    CHECK(std::vector<float>(grouped.end() - 32, grouped.end()) == alone);
}

// A mixture with fused experts, [experts, out, in]: written, planned, quantized, loaded,
// multiplied.
void mixture(const fourbit::context& on, const fourbit::quantizer& quantizer) {
    const std::string name = "model.layers.0.mlp.experts.down_proj";
    constexpr std::size_t experts = 3, outputs = 64, inputs = 48;
    const std::vector<float> source = numbers(experts * outputs * inputs, 3);
    {
        fourbit::writer writer("mixture");
        writer.add(name, fourbit::const_view(source, {experts, outputs, inputs}));
        writer.set_config(R"({"model_type": "qwen3_moe", "hidden_size": 64, "num_experts": 3,)"
                          R"( "torch_dtype": "float32"})");
        writer.finish();
    }
    const fourbit::checkpoint plain("mixture");
    CHECK(!fourbit::plan(quantizer, plain).entry(0).is_converted());
    fourbit::plan_options options;
    options.experts = FOURBIT_PLAN_EXPERTS_FUSED_FOUR_BIT;
    const fourbit::plan plan(quantizer, plain, options);
    CHECK(plan.entry(0).is_converted());
    CHECK(plan.entry(0).reason.find("each [out, in]: only this library") != std::string_view::npos);
    fourbit::quantize_checkpoint(quantizer, plain, plan, "mixture-4bit");
    const fourbit::checkpoint quantized("mixture-4bit");
    CHECK(quantized.config().find("\"fourbit_experts\": \"fused4bit\"") != std::string::npos);

    const fourbit::model model(quantizer, quantized);
    const fourbit::weight fused = model.weight(name);
    CHECK(fused.shape() == fourbit::shape(experts, outputs, inputs));
    CHECK(fourbit::model(quantizer, plain, plan).weight(name).serialize() == fused.serialize());
    std::vector<float> decoded(source.size());
    fourbit::dequantize(on, fused, {decoded, {experts, outputs, inputs}});
    std::vector<fourbit::weight> each;
    std::vector<const fourbit::weight*> pointers;
    for (std::size_t e = 0; e < experts; ++e) {
        each.push_back(fused.expert(e));
    }
    for (const fourbit::weight& expert : each) {
        pointers.push_back(&expert);
    }
    const std::vector<std::int64_t> offsets = {0, 2, 3, 5};
    const std::vector<float> input = numbers(5 * inputs, 4);
    std::vector<float> output(5 * outputs);
    fourbit::grouped_gemm(on, {input, {5, inputs}}, offsets, pointers, {output, {5, outputs}});
    for (std::size_t e = 0; e < experts; ++e) {
        for (auto row = static_cast<std::size_t>(offsets[e]);
             row < static_cast<std::size_t>(offsets[e + 1]); ++row) {
            for (std::size_t o = 0; o < outputs; ++o) {
                double sum = 0;
                for (std::size_t i = 0; i < inputs; ++i) {
                    sum += static_cast<double>(decoded[(e * outputs + o) * inputs + i]) *
                           static_cast<double>(input[row * inputs + i]);
                }
                const double difference = sum - static_cast<double>(output[row * outputs + o]);
                CHECK(difference < 1e-4 && difference > -1e-4);
            }
        }
    }
}

} // namespace

int main(int argc, char** argv) {
    return run([&] {
        if (argc < 2) {
            throw std::invalid_argument("usage: model CHECKOUT");
        }
        const fourbit::context on;
        const fourbit::quantizer quantizer(on, {FOURBIT_QUANT_TYPE_NF4, 64, true});
        const fourbit::checkpoint source(std::string(argv[1]) + "/tests/fixtures/tiny-llama");
        loading(quantizer, source);
        planned(quantizer, source);
        interrupting(quantizer, source);
        experts(on, quantizer);
        mixture(on, quantizer);
    });
}
