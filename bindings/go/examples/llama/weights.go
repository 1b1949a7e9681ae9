package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	fourbit "github.com/fourbit/fourbit/bindings/go"
)

// Linear is output = input · Wᵀ (+ bias), with a 4-bit weight or a plain matrix, whichever the checkpoint
// has.
type Linear struct {
	weight  *fourbit.Weight
	matrix  *Matrix
	bias    []float32
	outputs int
	inputs  int
	bytes   int
}

// Layer is one layer of the model.
type Layer struct {
	attentionNorm                      []float32
	query, key, value, attentionOutput *Linear
	mlpNorm                            []float32
	gate, up, down                     *Linear
}

// Weights are a checkpoint's tensors as the model uses them. This is where fourbit comes in.
type Weights struct {
	Config     *Config
	context    *fourbit.Context
	threads    int
	checkpoint *fourbit.Checkpoint
	fourBit    map[string]*fourbit.Weight
	embeddings *Matrix
	layers     []Layer
	norm       []float32
	head       *Linear
	release    []func()
}

// OpenWeights opens a checkpoint directory; tensors stay mapped until Close. Errors name the tensor or field
// at fault.
func OpenWeights(ctx context.Context, directory string, threads int) (*Weights, error) {
	w := &Weights{}
	if err := w.open(ctx, directory, threads); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

func (w *Weights) open(ctx context.Context, directory string, threads int) (err error) {
	if w.context, err = fourbit.NewContext(fourbit.ContextConfig{Threads: threads}); err != nil {
		return err
	}
	if w.threads, err = w.context.Threads(); err != nil {
		return err
	}
	if w.checkpoint, err = fourbit.OpenCheckpoint(directory); err != nil {
		return err
	}
	text, err := w.checkpoint.Config()
	if err != nil {
		return err
	}
	if w.Config, err = ParseConfig(text); err != nil {
		return err
	}
	if w.fourBit, err = w.checkpoint.LoadWeights(ctx, w.context); err != nil {
		return err
	}
	c := w.Config
	if w.embeddings, err = w.dense("model.embed_tokens.weight", c.VocabSize, c.HiddenSize); err != nil {
		return err
	}
	for i := range c.Layers {
		layer, err := w.layer(fmt.Sprintf("model.layers.%d.", i))
		if err != nil {
			return err
		}
		w.layers = append(w.layers, layer)
	}
	if w.norm, err = w.vector("model.norm.weight", c.HiddenSize); err != nil {
		return err
	}
	if c.TiedEmbeddings {
		w.head = &Linear{matrix: w.embeddings, outputs: c.VocabSize, inputs: c.HiddenSize, bytes: len(w.embeddings.bytes)}
		return nil
	}
	w.head, err = w.linear("lm_head", c.VocabSize, c.HiddenSize)
	return err
}

func (w *Weights) layer(prefix string) (layer Layer, err error) {
	c := w.Config
	linear := func(name string, outputs, inputs int) *Linear {
		linear, failed := w.linear(prefix+name, outputs, inputs)
		err = errors.Join(err, failed)
		return linear
	}
	norm := func(name string) []float32 {
		values, failed := w.vector(prefix+name+".weight", c.HiddenSize)
		err = errors.Join(err, failed)
		return values
	}
	layer = Layer{
		attentionNorm:   norm("input_layernorm"),
		query:           linear("self_attn.q_proj", c.QuerySize(), c.HiddenSize),
		key:             linear("self_attn.k_proj", c.KVSize(), c.HiddenSize),
		value:           linear("self_attn.v_proj", c.KVSize(), c.HiddenSize),
		attentionOutput: linear("self_attn.o_proj", c.HiddenSize, c.QuerySize()),
		mlpNorm:         norm("post_attention_layernorm"),
		gate:            linear("mlp.gate_proj", c.IntermediateSize, c.HiddenSize),
		up:              linear("mlp.up_proj", c.IntermediateSize, c.HiddenSize),
		down:            linear("mlp.down_proj", c.HiddenSize, c.IntermediateSize),
	}
	return layer, err
}

// linear takes "<name>.weight" and, if there is one, "<name>.bias" from the checkpoint.
func (w *Weights) linear(name string, outputs, inputs int) (*Linear, error) {
	l := &Linear{outputs: outputs, inputs: inputs}
	if l.weight = w.fourBit[name+".weight"]; l.weight != nil {
		info, err := l.weight.Info()
		if err != nil {
			return nil, err
		}
		if err := requireShape(name+".weight", info.Shape, outputs, inputs); err != nil {
			return nil, err
		}
		l.bytes = int(info.Bytes)
	} else {
		matrix, err := w.dense(name+".weight", outputs, inputs)
		if err != nil {
			return nil, err
		}
		l.matrix, l.bytes = matrix, len(matrix.bytes)
	}
	bias, err := w.vector(name+".bias", outputs)
	if err != nil && !errors.Is(err, fourbit.NotFound) {
		return nil, err
	}
	l.bias = bias
	return l, nil
}

// dense borrows a plain tensor of a given shape; a vector counts as one row.
func (w *Weights) dense(name string, shape ...int) (*Matrix, error) {
	tensor, release, err := w.checkpoint.Borrow(name)
	if err != nil {
		return nil, err
	}
	w.release = append(w.release, release)
	if err := requireShape(name, tensor.Shape(), shape...); err != nil {
		return nil, err
	}
	matrix, err := newMatrix(tensor)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return matrix, nil
}

func (w *Weights) vector(name string, size int) ([]float32, error) {
	matrix, err := w.dense(name, size)
	if err != nil {
		return nil, err
	}
	values := make([]float32, size)
	matrix.Row(0, values)
	return values, nil
}

func requireShape(name string, shape []int64, expected ...int) error {
	same := slices.EqualFunc(shape, expected, func(a int64, b int) bool { return a == int64(b) })
	if !same {
		return fmt.Errorf("%s has shape %v, expected %v", name, shape, expected)
	}
	return nil
}

// Forward gives output[n, outputs] = input[n, inputs] · Wᵀ + bias.
func (l *Linear) Forward(w *Weights, input []float32, n int, output []float32) error {
	if l.matrix != nil {
		l.matrix.Multiply(w.threads, input, n, output)
		for i := range n * len(l.bias) {
			output[i] += l.bias[i%l.outputs]
		}
		return nil
	}
	x := fourbit.Float32s(input[:n*l.inputs], n, l.inputs)
	y := fourbit.Float32s(output[:n*l.outputs], n, l.outputs)
	if l.bias != nil {
		return w.context.GemmBias(x, l.weight, fourbit.Float32s(l.bias), y)
	}
	return w.context.Gemm(x, l.weight, y)
}

// BytesPerToken are the bytes of weights that decoding one token reads, and how many of them are 4-bit.
func (w *Weights) BytesPerToken() (all, fourBit int) {
	all = (2*len(w.layers)+1)*w.Config.HiddenSize*4 + len(w.embeddings.bytes)/w.embeddings.rows
	linears := []*Linear{w.head}
	for _, l := range w.layers {
		linears = append(linears, l.query, l.key, l.value, l.attentionOutput, l.gate, l.up, l.down)
	}
	for _, linear := range linears {
		all += linear.bytes
		if linear.weight != nil {
			fourBit += linear.bytes
		}
	}
	return all, fourBit
}

// Close gives everything back.
func (w *Weights) Close() {
	for _, release := range w.release {
		release()
	}
	for _, weight := range w.fourBit {
		weight.Close()
	}
	if w.checkpoint != nil {
		w.checkpoint.Close()
	}
	if w.context != nil {
		w.context.Close()
	}
}
