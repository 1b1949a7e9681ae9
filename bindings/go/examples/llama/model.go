package main

import (
	"fmt"
	"math"
)

// maxBatch is the number of tokens that are evaluated at once.
const maxBatch = 256

// Cache has the keys and values of the positions seen so far, [layer][key-value head][position][head_dim], so
// that a head's positions lie in a row.
type Cache struct {
	config       *Config
	keys, values []float32
	Length       int
	Capacity     int
}

// NewCache makes room for so many positions.
func NewCache(config *Config, capacity int) *Cache {
	size := config.Layers * config.KVHeads * capacity * config.HeadDim
	return &Cache{config, make([]float32, size), make([]float32, size), 0, capacity}
}

// at is where a head's positions begin, from position on.
func (c *Cache) at(layer, head, position int) int {
	return ((layer*c.config.KVHeads+head)*c.Capacity + position) * c.config.HeadDim
}

// Model is the Llama itself: tokens in, logits out.
type Model struct {
	*Weights
	rotary            Rotary
	hidden            []float32 // the residual stream
	normed            []float32
	query, key, value []float32
	attended          []float32
	gate, up          []float32
	output            []float32 // of a block, to be added to the residual stream
}

// NewModel makes the buffers, once.
func NewModel(w *Weights) (*Model, error) {
	frequencies, err := w.Config.RopeFrequencies()
	if err != nil {
		return nil, err
	}
	c := w.Config
	buffer := func(width int) []float32 { return make([]float32, maxBatch*width) }
	return &Model{
		Weights: w, rotary: Rotary{frequencies: frequencies},
		hidden: buffer(c.HiddenSize), normed: buffer(c.HiddenSize), output: buffer(c.HiddenSize),
		query: buffer(c.QuerySize()), attended: buffer(c.QuerySize()),
		key: buffer(c.KVSize()), value: buffer(c.KVSize()),
		gate: buffer(c.IntermediateSize), up: buffer(c.IntermediateSize),
	}, nil
}

// Forward appends at most maxBatch tokens to the cache. It returns the last one's hidden state, normalized
// for the head and valid until the next call.
func (m *Model) Forward(tokens []int, cache *Cache) ([]float32, error) {
	c, n := m.Config, len(tokens)
	if n == 0 || n > maxBatch || cache.Length+n > cache.Capacity {
		return nil, fmt.Errorf("no room for %d tokens after %d of %d positions", n, cache.Length, cache.Capacity)
	}
	for i, token := range tokens {
		if token < 0 || token >= c.VocabSize {
			return nil, fmt.Errorf("token %d is not in the vocabulary of %d", token, c.VocabSize)
		}
		m.embeddings.Row(token, m.hidden[i*c.HiddenSize:][:c.HiddenSize])
	}
	m.rotary.SetPositions(cache.Length, n)
	for i := range m.layers {
		if err := m.attention(i, n, cache); err != nil {
			return nil, err
		}
		if err := m.mlp(&m.layers[i], n); err != nil {
			return nil, err
		}
	}
	cache.Length += n
	m.normalize(m.norm, n)
	return m.normed[(n-1)*c.HiddenSize:][:c.HiddenSize], nil
}

// Logits gives output[vocab] = head · hidden.
func (m *Model) Logits(hidden, output []float32) error {
	return m.head.Forward(m.Weights, hidden, 1, output)
}

// normalize gives normed = RMSNorm(hidden).
func (m *Model) normalize(weight []float32, n int) {
	width := len(weight)
	for i := range n {
		rmsNorm(m.hidden[i*width:][:width], weight, float32(m.Config.RMSNormEps), m.normed[i*width:][:width])
	}
}

// step is a linear layer and where its output goes.
type step struct {
	linear *Linear
	output []float32
}

// forward runs linear layers on one input until one fails.
func (m *Model) forward(input []float32, n int, steps ...step) error {
	for _, s := range steps {
		if err := s.linear.Forward(m.Weights, input, n, s.output); err != nil {
			return err
		}
	}
	return nil
}

func (m *Model) attention(index, n int, cache *Cache) error {
	layer := &m.layers[index]
	m.normalize(layer.attentionNorm, n)
	if err := m.forward(m.normed, n, step{layer.query, m.query}, step{layer.key, m.key}, step{layer.value, m.value}); err != nil {
		return err
	}
	m.store(index, n, cache)
	m.attend(index, n, cache)
	if err := m.forward(m.attended, n, step{layer.attentionOutput, m.output}); err != nil {
		return err
	}
	add(m.hidden, m.output[:n*m.Config.HiddenSize])
	return nil
}

// store puts keys, turned to their positions, and values into the cache.
func (m *Model) store(layer, n int, cache *Cache) {
	c := m.Config
	for row := range n {
		for head := range c.KVHeads {
			from := row*c.KVSize() + head*c.HeadDim
			to := cache.at(layer, head, cache.Length+row)
			key := m.key[from:][:c.HeadDim]
			m.rotary.Rotate(key, row)
			copy(cache.keys[to:], key)
			copy(cache.values[to:], m.value[from:][:c.HeadDim])
		}
	}
}

// attend lets every row look at all positions up to its own. Groups of query heads share a key-value head.
func (m *Model) attend(layer, n int, cache *Cache) {
	c := m.Config
	scale := 1 / float32(math.Sqrt(float64(c.HeadDim)))
	threads := m.threads
	if n*c.Heads*c.HeadDim*(cache.Length+n) < 1<<17 {
		threads = 1 // done sooner than another goroutine is awake
	}
	parallel(threads, c.Heads, func(head int) {
		scores := make([]float32, cache.Length+n)
		for row := range n {
			positions := cache.Length + row + 1
			at := cache.at(layer, head/(c.Heads/c.KVHeads), 0)
			query := m.query[(row*c.Heads+head)*c.HeadDim:][:c.HeadDim]
			output := m.attended[(row*c.Heads+head)*c.HeadDim:][:c.HeadDim]
			m.rotary.Rotate(query, row)
			for i := range positions {
				scores[i] = scale * dot(query, cache.keys[at+i*c.HeadDim:][:c.HeadDim])
			}
			total := expShifted(scores[:positions])
			weightedSum(scores[:positions], cache.values[at:], output)
			for d := range output {
				output[d] /= total
			}
		}
	})
}

func (m *Model) mlp(layer *Layer, n int) error {
	m.normalize(layer.mlpNorm, n)
	if err := m.forward(m.normed, n, step{layer.gate, m.gate}, step{layer.up, m.up}); err != nil {
		return err
	}
	width := n * m.Config.IntermediateSize
	siluMultiply(m.gate[:width], m.up[:width])
	if err := m.forward(m.gate, n, step{layer.down, m.output}); err != nil {
		return err
	}
	add(m.hidden, m.output[:n*m.Config.HiddenSize])
	return nil
}
