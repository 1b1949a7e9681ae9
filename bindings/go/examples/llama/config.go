package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// maxSize is beyond any size of a model.
const maxSize = 1 << 28

// Config is what config.json says about a Llama.
type Config struct {
	VocabSize        int     `json:"vocab_size"`
	HiddenSize       int     `json:"hidden_size"`
	IntermediateSize int     `json:"intermediate_size"`
	Layers           int     `json:"num_hidden_layers"`
	Heads            int     `json:"num_attention_heads"`
	KVHeads          int     `json:"num_key_value_heads"`
	HeadDim          int     `json:"head_dim"`
	MaxPosition      int     `json:"max_position_embeddings"`
	RMSNormEps       float64 `json:"rms_norm_eps"`
	TiedEmbeddings   bool    `json:"tie_word_embeddings"`
	BOSToken         int     `json:"bos_token_id"`
	EOSToken         tokens  `json:"eos_token_id"`
	RopeTheta        float64 `json:"rope_theta"`
	// Newer files have all of the rotary embedding in RopeParameters, older ones in RopeScaling.
	RopeParameters *Rope `json:"rope_parameters"`
	RopeScaling    *Rope `json:"rope_scaling"`

	ModelType string `json:"model_type"`
	HiddenAct string `json:"hidden_act"`
}

// Rope is how rotary frequencies are stretched for long contexts.
type Rope struct {
	RopeType        string   `json:"rope_type"`
	Type            string   `json:"type"`
	Theta           *float64 `json:"rope_theta"`
	Factor          float64  `json:"factor"`
	LowFreqFactor   float64  `json:"low_freq_factor"`
	HighFreqFactor  float64  `json:"high_freq_factor"`
	OriginalContext float64  `json:"original_max_position_embeddings"`
}

// tokens are one number or a list of them.
type tokens []int

func (t *tokens) UnmarshalJSON(text []byte) error {
	var one *int
	if err := json.Unmarshal(text, &one); err == nil {
		if one != nil {
			*t = tokens{*one}
		}
		return nil
	}
	return json.Unmarshal(text, (*[]int)(t))
}

// ParseConfig reads a config.json, and names the field that is missing or not supported.
func ParseConfig(text []byte) (*Config, error) {
	c := &Config{RMSNormEps: 1e-6, RopeTheta: 10000, MaxPosition: 2048}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if c.ModelType != "llama" || c.HiddenAct != "silu" {
		return nil, fmt.Errorf("config.json: model_type %q with hidden_act %q, this example runs \"llama\" with \"silu\"", c.ModelType, c.HiddenAct)
	}
	if c.KVHeads == 0 {
		c.KVHeads = c.Heads
	}
	if c.HeadDim == 0 && c.Heads > 0 {
		c.HeadDim = c.HiddenSize / c.Heads
	}
	sizes := []struct {
		name  string
		value int
	}{
		{"vocab_size", c.VocabSize}, {"hidden_size", c.HiddenSize}, {"intermediate_size", c.IntermediateSize},
		{"num_hidden_layers", c.Layers}, {"num_attention_heads", c.Heads}, {"num_key_value_heads", c.KVHeads},
		{"head_dim", c.HeadDim}, {"max_position_embeddings", c.MaxPosition},
	}
	for _, size := range sizes {
		if size.value < 1 || size.value > maxSize {
			return nil, fmt.Errorf("config.json: %s is missing or no positive integer", size.name)
		}
	}
	if c.Heads%c.KVHeads != 0 || c.HeadDim%2 != 0 {
		return nil, errors.New("config.json: num_attention_heads must be a multiple of num_key_value_heads, and head_dim even")
	}
	return c, nil
}

// QuerySize is the width of all query heads.
func (c *Config) QuerySize() int { return c.Heads * c.HeadDim }

// KVSize is the width of all key heads, and of all value heads.
func (c *Config) KVSize() int { return c.KVHeads * c.HeadDim }

// RopeFrequencies are by how much each pair of a head turns per position.
func (c *Config) RopeFrequencies() ([]float32, error) {
	rope, theta := Rope{}, c.RopeTheta
	if c.RopeParameters != nil {
		rope = *c.RopeParameters
	} else if c.RopeScaling != nil {
		rope = *c.RopeScaling
	}
	if rope.Theta != nil {
		theta = *rope.Theta
	}
	kind := rope.RopeType
	if kind == "" {
		kind = rope.Type
	}
	stretch, err := rope.stretch(kind, float64(c.MaxPosition))
	if err != nil {
		return nil, err
	}
	frequencies := make([]float32, c.HeadDim/2)
	for i := range frequencies {
		frequency := 1 / math.Pow(theta, float64(2*i)/float64(c.HeadDim))
		frequencies[i] = float32(stretch(frequency))
	}
	return frequencies, nil
}

func (r Rope) stretch(kind string, maxPosition float64) (func(frequency float64) float64, error) {
	orElse := func(value, otherwise float64) float64 {
		if value == 0 {
			return otherwise
		}
		return value
	}
	factor := orElse(r.Factor, 1)
	switch kind {
	case "", "default":
		return func(frequency float64) float64 { return frequency }, nil
	case "linear":
		return func(frequency float64) float64 { return frequency / factor }, nil
	case "llama3":
		low, high := orElse(r.LowFreqFactor, 1), orElse(r.HighFreqFactor, 4)
		original := orElse(r.OriginalContext, maxPosition)
		// Long waves are slowed by the factor, short ones kept, those between blended.
		return func(frequency float64) float64 {
			turns := original / (2 * math.Pi / frequency)
			switch {
			case turns < low:
				return frequency / factor
			case turns > high:
				return frequency
			}
			blend := (turns - low) / (high - low)
			return (1-blend)*frequency/factor + blend*frequency
		}, nil
	}
	return nil, fmt.Errorf("config.json: rope_type %q, this example has default, linear and llama3", kind)
}
