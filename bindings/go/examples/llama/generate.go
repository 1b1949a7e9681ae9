package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Generation is what was done and how long it took.
type Generation struct {
	Tokens       []int
	Text         string
	PromptTokens int
	PromptTime   time.Duration
	// Decoded tokens were evaluated one by one: the first comes out of the prompt's evaluation.
	Decoded    int
	DecodeTime time.Duration
}

func perSecond(count int, time time.Duration) float64 {
	if time <= 0 {
		return 0
	}
	return float64(count) / time.Seconds()
}

// Generate continues a text, always with the likeliest token, for at most limit tokens or until one of stop,
// which is not returned. onText gets the bytes of each token as it comes. A context that is done ends the
// text early.
func Generate(ctx context.Context, model *Model, tokenizer Tokenizer, prompt []int, limit int, stop []int, onText func(string)) (*Generation, error) {
	if len(prompt) == 0 {
		return nil, errors.New("the prompt has no tokens")
	}
	capacity := min(model.Config.MaxPosition, len(prompt)+limit)
	if len(prompt) >= capacity {
		return nil, fmt.Errorf("the text has %d tokens, the context %d", len(prompt), capacity)
	}
	cache, logits := NewCache(model.Config, capacity), make([]float32, model.Config.VocabSize)
	done := &Generation{PromptTokens: len(prompt)}
	began := time.Now()
	if err := evaluate(ctx, model, prompt, cache, logits); err != nil {
		return nil, err
	}
	done.PromptTime = time.Since(began)
	began = time.Now()
	for ctx.Err() == nil {
		next := likeliest(logits)
		if slices.Contains(stop, next) {
			break
		}
		text := tokenizer.Decode(next)
		done.Tokens, done.Text = append(done.Tokens, next), done.Text+text
		onText(text)
		if len(done.Tokens) == limit || cache.Length == cache.Capacity {
			break
		}
		hidden, err := model.Forward([]int{next}, cache)
		if err != nil {
			return nil, err
		}
		if err := model.Logits(hidden, logits); err != nil {
			return nil, err
		}
		done.Decoded++
	}
	done.DecodeTime = time.Since(began)
	return done, nil
}

// evaluate reads a prompt in batches; only the last position's logits are needed.
func evaluate(ctx context.Context, model *Model, prompt []int, cache *Cache, logits []float32) error {
	for batch := range slices.Chunk(prompt, maxBatch) {
		if err := ctx.Err(); err != nil {
			return err
		}
		hidden, err := model.Forward(batch, cache)
		if err != nil {
			return err
		}
		if cache.Length == len(prompt) {
			return model.Logits(hidden, logits)
		}
	}
	return nil
}

// likeliest is the first token of the largest logit.
func likeliest(logits []float32) int {
	best := 0
	for i, value := range logits {
		if value > logits[best] {
			best = i
		}
	}
	return best
}
