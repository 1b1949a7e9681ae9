// A checkpoint's tensors as the model uses them. This is where fourbit comes in: a linear layer is
// a 4-bit weight or a plain matrix, whichever the checkpoint has.
#ifndef LLAMA_WEIGHTS_HPP
#define LLAMA_WEIGHTS_HPP

#include "config.hpp"
#include "dense.hpp"

#include <fourbit/fourbit.hpp>

#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace llama {

/// Bytes in someone's memory.
struct Bytes {
    const std::byte* data;
    std::size_t size;
};

/// What runs a product: fourbit's context, on this example's threads.
struct Runtime {
    /// `bf16`: several inputs at once go to 4-bit weights as bfloat16. Where the processor has
    /// instructions for that, prompts are several times faster, at bfloat16's precision.
    Runtime(unsigned threads, bool bf16);

    ThreadPool pool;
    fourbit::context context;
    bool bf16_batches;
    std::vector<std::uint16_t> bf16_input;
    std::vector<float> doubled_input;
};

/// output = input · Wᵀ (+ bias).
class Linear {
  public:
    /// Takes "<name>.weight" and, if there is one, "<name>.bias" from the checkpoint. Throws unless
    /// the weight is [outputs, inputs].
    Linear(const fourbit::checkpoint& checkpoint, const Runtime& runtime, const std::string& name,
           std::size_t outputs, std::size_t inputs);
    /// A plain matrix without a bias.
    explicit Linear(const DenseMatrix& matrix);

    /// output[m, outputs] = input[m, inputs] · Wᵀ + bias, float32.
    void forward(Runtime& runtime, const float* input, std::size_t m, float* output) const;

    /// The products of one input with two layers that have the same number of outputs: `first`'s
    /// into output[0, m * outputs), `second`'s behind. For a single input they are one call, which
    /// saves the threads a meeting.
    static void forward_both(Runtime& runtime, const Linear& first, const Linear& second,
                             const float* input, std::size_t m, float* output);

    bool is_4bit() const { return std::holds_alternative<fourbit::weight>(weight_); }
    /// Bytes that one product reads.
    std::size_t byte_size() const;
    /// Appends where they are.
    void append_bytes(std::vector<Bytes>& to) const;

  private:
    void multiply_4bit(Runtime& runtime, const float* input, std::size_t m,
                       const fourbit::weight& weight, const fourbit::view& output) const;

    std::variant<DenseMatrix, fourbit::weight> weight_;
    std::size_t outputs_;
    std::size_t inputs_;
    std::vector<float> bias_;
};

struct Layer {
    std::vector<float> attention_norm;
    Linear query, key, value, attention_output;
    std::vector<float> mlp_norm;
    Linear gate, up, down;
};

class Weights {
  public:
    /// Opens a checkpoint directory; tensors stay mapped as long as this lives. Throws
    /// fourbit::error or std::runtime_error, naming the tensor or field at fault.
    Weights(const std::string& directory, const Runtime& runtime);

    const Config& config() const { return config_; }
    const std::vector<Layer>& layers() const { return layers_; }
    const std::vector<float>& norm() const { return norm_; }
    const Linear& head() const { return *head_; }

    /// The embedding of a token.
    void embed(int token, float* output) const;

    /// The matrices that decoding one token reads, as they lie in memory.
    std::vector<Bytes> read_per_token() const;
    /// Bytes of weights that decoding one token reads.
    std::size_t bytes_per_token() const;
    /// How much of that is 4-bit.
    std::size_t bytes_per_token_4bit() const;

  private:
    Layer load_layer(const Runtime& runtime, std::size_t index) const;

    fourbit::checkpoint checkpoint_;
    Config config_;
    DenseMatrix embeddings_;
    std::vector<Layer> layers_;
    std::vector<float> norm_;
    std::optional<Linear> head_;
};

} // namespace llama

#endif
