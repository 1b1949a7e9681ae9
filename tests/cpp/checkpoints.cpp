// Whole checkpoints through the C++ header; progress that cancels, and progress that throws.
#include "check.hpp"

#include <stdexcept>

namespace {

void reading(const fourbit::checkpoint& model) {
    CHECK(model.size() == 48);
    const auto index = model.find("model.norm.weight");
    CHECK(index && !model.find("no such tensor"));
    const fourbit::checkpoint_entry entry = model.entry(*index);
    CHECK(entry.name == "model.norm.weight" && !entry.is_weight && entry.byte_size == 256);
    CHECK(entry.dtype == fourbit::bfloat16 && entry.shape == fourbit::shape(128));
    CHECK(model.tensor(*index).shape() == entry.shape);
    CHECK(model.config().find("\"vocab_size\": 256") != std::string::npos);
    THROWS(NOT_FOUND, "48", model.entry(48));
    THROWS(IO, "nowhere", fourbit::checkpoint("nowhere"));
}

void planning(const fourbit::quantizer& quantizer, const fourbit::checkpoint& model) {
    const fourbit::plan plan(quantizer, model);
    CHECK(plan.size() == 48 && plan.totals().converted == 35);
    const auto index = plan.find("model.layers.0.self_attn.k_proj.weight");
    CHECK(index && plan.entry(*index).is_converted() && !plan.find("nothing"));
    CHECK(plan.entry(*index).shape == fourbit::shape(64, 128));
    CHECK(plan.entry(*index).source_dtype == fourbit::bfloat16);
    CHECK(!plan.entry(*plan.find("lm_head.weight")).reason.empty());
    CHECK(fourbit::plan::from_json(plan.to_json()).to_json() == plan.to_json());
    fourbit::plan_options options;
    options.skip_modules = {"lm_head", "k_proj"};
    CHECK(!fourbit::plan(quantizer, model, options).entry(*index).is_converted());
    CHECK(!plan.entry(*index).device);
    options = {};
    options.device_map = R"({"model": 1, "lm_head": "cpu"})";
    THROWS(INVALID_ARGUMENT, "dispatched on the CPU", fourbit::plan(quantizer, model, options));
    options.offload = true;
    const fourbit::plan placed(quantizer, model, options);
    CHECK(placed.entry(*index).device == "1");
    CHECK(placed.entry(*plan.find("lm_head.weight")).device == "cpu");
    options.device_map = "fit";
    options.max_memory = "0=400KiB,1=450KiB";
    options.offload = false;
    const fourbit::plan fitted(quantizer, model, options);
    CHECK(fitted.entry(*plan.find("model.embed_tokens.weight")).device == "0");
    CHECK(fitted.entry(*plan.find("lm_head.weight")).device == "1");
    THROWS(FORMAT, "", fourbit::plan::from_json("{}"));
}

void converting(const fourbit::context& on, const fourbit::quantizer& quantizer,
                const fourbit::checkpoint& model) {
    int calls = 0;
    fourbit::quantize_checkpoint(quantizer, model, "small", {}, [&](const fourbit::progress& now) {
        ++calls;
        CHECK(!now.tensor.empty() && now.bytes_done <= now.bytes_total);
        return true;
    });
    CHECK(calls > 0);
    THROWS(INVALID_ARGUMENT, "small", fourbit::quantize_checkpoint(quantizer, model, "small"));
    fourbit::save_options options;
    options.force = true;
    const fourbit::plan plan(quantizer, model);
    fourbit::quantize_checkpoint(quantizer, model, plan, "small", options);

    const fourbit::checkpoint small("small");
    const auto index = small.find("model.layers.4.mlp.down_proj.weight");
    CHECK(index && small.entry(*index).is_weight);
    const fourbit::weight weight = small.weight(on, *index);
    CHECK(weight.shape() == fourbit::shape(128, 352));
    fourbit::dequantize_checkpoint(on, small, fourbit::float32, "plain");
    const fourbit::checkpoint plain("plain");
    CHECK(plain.entry(*plain.find("model.layers.4.mlp.down_proj.weight")).dtype ==
          fourbit::float32);
}

struct Surprise : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Nothing of the output remains, and what was thrown comes out as it was.
void interrupting(const fourbit::context& on, const fourbit::quantizer& quantizer,
                  const fourbit::checkpoint& model) {
    THROWS(CANCELLED, "",
           fourbit::quantize_checkpoint(quantizer, model, "gone", {},
                                        [](const fourbit::progress&) { return false; }));
    bool caught = false;
    try {
        fourbit::quantize_checkpoint(
            quantizer, model, "gone", {},
            [](const fourbit::progress& now) -> bool { throw Surprise(std::string(now.tensor)); });
    } catch (const Surprise& e) {
        caught = std::string(e.what()) != "";
    }
    CHECK(caught);
    caught = false;
    try {
        fourbit::dequantize_checkpoint(on, fourbit::checkpoint("small"), {}, "gone", {},
                                       [](const fourbit::progress&) -> bool { throw 42; });
    } catch (int number) {
        caught = number == 42;
    }
    CHECK(caught);
    THROWS(IO, "gone", fourbit::checkpoint("gone"));
}

void writing(const fourbit::context& on, const fourbit::quantizer& quantizer) {
    const std::vector<float> source = numbers(64 * 32);
    fourbit::writer writer("by-hand");
    writer.add("plain", fourbit::const_view(source, {64, 32}));
    writer.add("layer.weight", fourbit::quantize(quantizer, {source, {64, 32}}));
    writer.set_metadata("made by", "hand");
    writer.set_config("{\"model_type\": \"llama\"}");
    writer.finish();
    THROWS(INVALID_STATE, "finished", writer.finish());
    const fourbit::checkpoint written("by-hand");
    CHECK(written.size() == 2 && written.config() == "{\"model_type\": \"llama\"}");
    CHECK(written.tensor(*written.find("plain")).data_as<float>()[5] == source[5]);
    CHECK(written.weight(on, *written.find("layer.weight")).shape() == fourbit::shape(64, 32));
}

} // namespace

int main(int argc, char** argv) {
    return run([&] {
        if (argc < 2) {
            throw std::invalid_argument("usage: checkpoints CHECKOUT");
        }
        const fourbit::context on;
        const fourbit::quantizer quantizer(on, {FOURBIT_QUANT_TYPE_NF4, 64, true});
        const fourbit::checkpoint model(std::string(argv[1]) + "/tests/fixtures/tiny-llama");
        reading(model);
        planning(quantizer, model);
        converting(on, quantizer, model);
        interrupting(on, quantizer, model);
        writing(on, quantizer);
    });
}
