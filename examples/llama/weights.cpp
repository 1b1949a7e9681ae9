#include "weights.hpp"

#include <algorithm>
#include <stdexcept>

namespace llama {

namespace {

std::string text_of(const fourbit::shape& shape) {
    std::string text = "[";
    for (std::int64_t size : shape) {
        text += (text.size() > 1 ? ", " : "") + std::to_string(size);
    }
    return text + "]";
}

std::size_t require(const fourbit::checkpoint& checkpoint, const std::string& name) {
    const std::optional<std::size_t> index = checkpoint.find(name);
    if (!index) {
        throw std::runtime_error("the checkpoint has no tensor " + name);
    }
    return *index;
}

void require_shape(const std::string& name, const fourbit::shape& shape,
                   const fourbit::shape& expected) {
    if (shape != expected) {
        throw std::runtime_error(name + " has shape " + text_of(shape) + ", expected " +
                                 text_of(expected));
    }
}

/// A plain tensor of a given shape; a vector counts as one row.
DenseMatrix dense(const fourbit::checkpoint& checkpoint, const std::string& name,
                  const fourbit::shape& expected) {
    const fourbit::const_view view = checkpoint.tensor(require(checkpoint, name));
    require_shape(name, view.shape(), expected);
    DenseMatrix matrix;
    matrix.data = view.data();
    matrix.columns = static_cast<std::size_t>(expected[expected.rank() - 1]);
    matrix.rows = static_cast<std::size_t>(view.numel()) / matrix.columns;
    if (view.dtype() == fourbit::float32) {
        matrix.element = Element::f32;
    } else if (view.dtype() == fourbit::float16) {
        matrix.element = Element::f16;
    } else if (view.dtype() == fourbit::bfloat16) {
        matrix.element = Element::bf16;
    } else {
        throw std::runtime_error(name + " is neither float32, float16 nor bfloat16");
    }
    return matrix;
}

std::vector<float> vector(const fourbit::checkpoint& checkpoint, const std::string& name,
                          std::size_t size) {
    std::vector<float> values(size);
    to_float(dense(checkpoint, name, {size}), 0, size, values.data());
    return values;
}

fourbit::context_options on_pool(ThreadPool& pool) {
    fourbit::context_options options;
    options.threads = pool.threads();
    options.parallel_for_with(pool);
    return options;
}

std::variant<DenseMatrix, fourbit::weight> load(const fourbit::checkpoint& checkpoint,
                                                const fourbit::context& context,
                                                const std::string& name,
                                                const fourbit::shape& expected) {
    const std::size_t index = require(checkpoint, name);
    if (!checkpoint.entry(index).is_weight) {
        return dense(checkpoint, name, expected);
    }
    fourbit::weight weight = checkpoint.weight(context, index);
    require_shape(name, weight.shape(), expected);
    return weight;
}

} // namespace

Runtime::Runtime(unsigned threads, bool bf16)
    : pool(threads), context(on_pool(pool)), bf16_batches(bf16) {}

Linear::Linear(const fourbit::checkpoint& checkpoint, const Runtime& runtime,
               const std::string& name, std::size_t outputs, std::size_t inputs)
    : weight_(load(checkpoint, runtime.context, name + ".weight", {outputs, inputs})),
      outputs_(outputs), inputs_(inputs) {
    if (checkpoint.find(name + ".bias")) {
        bias_ = vector(checkpoint, name + ".bias", outputs);
    }
}

Linear::Linear(const DenseMatrix& matrix)
    : weight_(matrix), outputs_(matrix.rows), inputs_(matrix.columns) {}

void Linear::forward(Runtime& runtime, const float* input, std::size_t m, float* output) const {
    if (const auto* weight = std::get_if<fourbit::weight>(&weight_)) {
        return multiply_4bit(runtime, input, m, *weight, {output, {m, outputs_}});
    }
    multiply(runtime.pool, input, m, std::get<DenseMatrix>(weight_), output);
    for (std::size_t i = 0; i < m * bias_.size(); ++i) {
        output[i] += bias_[i % outputs_];
    }
}

void Linear::multiply_4bit(Runtime& runtime, const float* input, std::size_t m,
                           const fourbit::weight& weight, const fourbit::view& output) const {
    fourbit::const_view x(input, {m, inputs_});
    if (runtime.bf16_batches && m > 1) {
        runtime.bf16_input.resize(std::max(runtime.bf16_input.size(), m * inputs_));
        to_bf16(input, m * inputs_, runtime.bf16_input.data());
        x = {runtime.bf16_input.data(), fourbit::bfloat16, {m, inputs_}};
    }
    if (bias_.empty()) {
        fourbit::gemm(runtime.context, x, weight, output);
    } else {
        fourbit::gemm(runtime.context, x, weight, bias_, output);
    }
}

void Linear::forward_both(Runtime& runtime, const Linear& first, const Linear& second,
                          const float* input, std::size_t m, float* output) {
    const auto* a = std::get_if<fourbit::weight>(&first.weight_);
    const auto* b = std::get_if<fourbit::weight>(&second.weight_);
    const std::size_t n = first.outputs_;
    if (m > 1 || a == nullptr || b == nullptr || !first.bias_.empty() || !second.bias_.empty()) {
        first.forward(runtime, input, m, output);
        second.forward(runtime, input, m, output + m * n);
        return;
    }
    const std::size_t k = first.inputs_;
    std::vector<float>& rows = runtime.doubled_input;
    rows.resize(2 * k);
    std::copy_n(input, k, rows.data());
    std::copy_n(input, k, rows.data() + k);
    fourbit::grouped_gemm(runtime.context, {rows, {std::size_t{2}, k}}, {0, 1, 2}, {a, b},
                          {output, {std::size_t{2}, n}});
}

std::size_t Linear::byte_size() const {
    if (const auto* weight = std::get_if<fourbit::weight>(&weight_)) {
        return static_cast<std::size_t>(weight->info().byte_size);
    }
    return std::get<DenseMatrix>(weight_).byte_size();
}

void Linear::append_bytes(std::vector<Bytes>& to) const {
    if (const auto* matrix = std::get_if<DenseMatrix>(&weight_)) {
        to.push_back({static_cast<const std::byte*>(matrix->data), matrix->byte_size()});
        return;
    }
    const auto& weight = std::get<fourbit::weight>(weight_);
    for (std::size_t i = 0; i < weight.part_count(); ++i) {
        const fourbit::const_view part = weight.part(i).tensor;
        const auto size = static_cast<std::size_t>(part.numel()) * part.dtype().bits / 8;
        to.push_back({static_cast<const std::byte*>(part.data()), size});
    }
}

Weights::Weights(const std::string& directory, const Runtime& runtime)
    : checkpoint_(directory), config_(Config::parse(checkpoint_.config())) {
    const Config& c = config_;
    embeddings_ = dense(checkpoint_, "model.embed_tokens.weight", {c.vocab_size, c.hidden_size});
    layers_.reserve(c.layers);
    for (std::size_t i = 0; i < c.layers; ++i) {
        layers_.push_back(load_layer(runtime, i));
    }
    norm_ = vector(checkpoint_, "model.norm.weight", c.hidden_size);
    if (c.tied_embeddings) {
        head_.emplace(embeddings_);
    } else {
        head_.emplace(checkpoint_, runtime, "lm_head", c.vocab_size, c.hidden_size);
    }
}

Layer Weights::load_layer(const Runtime& runtime, std::size_t index) const {
    const Config& c = config_;
    const std::string prefix = "model.layers." + std::to_string(index) + ".";
    const auto linear = [&](const char* name, std::size_t outputs, std::size_t inputs) {
        return Linear(checkpoint_, runtime, prefix + name, outputs, inputs);
    };
    const auto norm = [&](const char* name) {
        return vector(checkpoint_, prefix + name + ".weight", c.hidden_size);
    };
    return Layer{norm("input_layernorm"),
                 linear("self_attn.q_proj", c.query_size(), c.hidden_size),
                 linear("self_attn.k_proj", c.kv_size(), c.hidden_size),
                 linear("self_attn.v_proj", c.kv_size(), c.hidden_size),
                 linear("self_attn.o_proj", c.hidden_size, c.query_size()),
                 norm("post_attention_layernorm"),
                 linear("mlp.gate_proj", c.intermediate_size, c.hidden_size),
                 linear("mlp.up_proj", c.intermediate_size, c.hidden_size),
                 linear("mlp.down_proj", c.hidden_size, c.intermediate_size)};
}

void Weights::embed(int token, float* output) const {
    const std::size_t width = embeddings_.columns;
    to_float(embeddings_, static_cast<std::size_t>(token) * width, width, output);
}

namespace {

template <class Visit> void each_linear(const Weights& weights, Visit visit) {
    for (const Layer& layer : weights.layers()) {
        for (const Linear* linear :
             {&layer.query, &layer.key, &layer.value, &layer.attention_output, &layer.gate,
              &layer.up, &layer.down}) {
            visit(*linear);
        }
    }
    visit(weights.head());
}

} // namespace

std::vector<Bytes> Weights::read_per_token() const {
    std::vector<Bytes> bytes;
    each_linear(*this, [&](const Linear& linear) { linear.append_bytes(bytes); });
    return bytes;
}

std::size_t Weights::bytes_per_token() const {
    const std::size_t norms = (2 * layers_.size() + 1) * config_.hidden_size * sizeof(float);
    std::size_t bytes = norms + embeddings_.byte_size() / embeddings_.rows;
    each_linear(*this, [&](const Linear& linear) { bytes += linear.byte_size(); });
    return bytes;
}

std::size_t Weights::bytes_per_token_4bit() const {
    std::size_t bytes = 0;
    each_linear(*this, [&](const Linear& linear) {
        if (linear.is_4bit()) {
            bytes += linear.byte_size();
        }
    });
    return bytes;
}

} // namespace llama
