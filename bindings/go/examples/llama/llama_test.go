package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	fourbit "github.com/fourbit/fourbit/bindings/go"
)

const fixture = "../../../../tests/fixtures/tiny-llama"

// written is what the engine, or the one in C++, says with --json.
type written struct {
	Text         string `json:"text"`
	Tokens       []int  `json:"tokens"`
	PromptTokens int    `json:"prompt_tokens"`
	Bytes        int    `json:"weight_bytes_per_token"`
	Bytes4       int    `json:"weight_bytes_per_token_4bit"`
}

func write(t *testing.T, o options) (result written) {
	t.Helper()
	var out bytes.Buffer
	o.json = true
	if err := run(context.Background(), o, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &result); err != nil {
		t.Fatal(err)
	}
	return result
}

// quantized is the fixture in 4 bits, with double quantization.
func quantized(t *testing.T) string {
	t.Helper()
	on, err := fourbit.NewContext(fourbit.ContextConfig{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer on.Close()
	quantizer, err := on.NewQuantizer(fourbit.QuantConfig{DoubleQuant: true})
	if err != nil {
		t.Fatal(err)
	}
	defer quantizer.Close()
	source, err := fourbit.OpenCheckpoint(fixture)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	dir := filepath.Join(t.TempDir(), "nf4")
	if err := quantizer.QuantizeCheckpoint(context.Background(), source, nil, dir, fourbit.SaveConfig{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// The fixture's expected.json has what transformers' arithmetic gives.
func TestWritesThePinnedText(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(fixture, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	type greedy struct {
		Tokens []int  `json:"generated_ids"`
		Text   string `json:"generated_text"`
	}
	var expected struct {
		Greedy struct {
			Prompt    string `json:"prompt"`
			BFloat16  greedy `json:"bfloat16"`
			Quantized greedy `json:"nf4_double_quant"`
		} `json:"greedy"`
	}
	if err := json.Unmarshal(text, &expected); err != nil || len(expected.Greedy.Quantized.Tokens) != 64 {
		t.Fatalf("expected.json: %v", err)
	}
	for _, c := range []struct {
		name, model string
		greedy      greedy
	}{{"16 bits", fixture, expected.Greedy.BFloat16}, {"4 bits", quantized(t), expected.Greedy.Quantized}} {
		t.Run(c.name, func(t *testing.T) {
			for threads := 1; threads <= 3; threads++ {
				found := write(t, options{model: c.model, prompt: expected.Greedy.Prompt, tokens: 64, threads: threads})
				if !slices.Equal(found.Tokens, c.greedy.Tokens) || found.Text != c.greedy.Text {
					t.Errorf("%d threads wrote %q, expected %q", threads, found.Text, c.greedy.Text)
				}
			}
		})
	}
}

// withBPE gives a model a byte-level tokenizer of as many tokens as it has embeddings: the bytes below 0xc0,
// some merges, and a special token.
func withBPE(t *testing.T, model string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"config.json", "model.safetensors"} {
		text, err := os.ReadFile(filepath.Join(model, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	vocabulary, spellings := map[string]int{}, byteSpellings()
	for i := range 0xc0 {
		vocabulary[string(spellings[i])] = i
	}
	vocabulary[string(spellings[0xc3])] = 0xc0 // of é
	merges := []string{
		"t h", "Ġ t", "Ġ th", "Ġth e", "h e", "i n", "Ġ a", "e r", "o n", "r e", "Ġ w", "n d", "Ġa nd", "Ã ©", "1 9", "Ġ Ġ", "' t", "1 8",
	}
	for _, pair := range merges {
		token := strings.ReplaceAll(pair, " ", "")
		if _, known := vocabulary[token]; !known {
			vocabulary[token] = len(vocabulary)
		}
	}
	text, err := json.Marshal(map[string]any{
		"added_tokens": []any{map[string]any{"content": "<|end|>", "id": 250}},
		"pre_tokenizer": map[string]any{"type": "Sequence", "pretokenizers": []any{
			map[string]any{"type": "Digits", "individual_digits": true}, map[string]any{"type": "ByteLevel"},
		}},
		"model": map[string]any{"type": "BPE", "vocab": vocabulary, "merges": merges},
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "tokenizer.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Needs the engine in C++, which FOURBIT_LLAMA names (tests/go/run.sh sets it if it is built).
func TestWritesWhatTheEngineInCppWrites(t *testing.T) {
	engine := os.Getenv("FOURBIT_LLAMA")
	if engine == "" {
		t.Skip("FOURBIT_LLAMA does not name the engine in C++")
	}
	prompts := []string{
		"They went ", "My dear Emma,", "the", " ", "\n\n  Chapter 19  the end", "It isn't 1818: they'll see\tthe <|end|> and re-read it.",
		"é and the café – “quoted”, ½ of ٣…", strings.Repeat("in the one hand and on the other ", 7),
	}
	models := map[string]string{"16 bits": fixture, "4 bits": quantized(t)}
	models["16 bits, BPE"], models["4 bits, BPE"] = withBPE(t, models["16 bits"]), withBPE(t, models["4 bits"])
	for name, model := range models {
		for i, prompt := range prompts {
			t.Run(fmt.Sprint(name, ", prompt ", i), func(t *testing.T) {
				out, err := exec.Command(engine, "--model", model, "--prompt", prompt, "--tokens", "24", "--threads", "2", "--ignore-eos", "--json").Output()
				var expected written
				if err != nil || json.Unmarshal(out, &expected) != nil {
					t.Fatalf("%s: %v: %s", engine, err, out)
				}
				found := write(t, options{model: model, prompt: prompt, tokens: 24, threads: 2, ignoreEOS: true})
				if !slices.Equal(found.Tokens, expected.Tokens) {
					t.Errorf("after %q: %q (%v), in C++ %q (%v)", prompt, found.Text, found.Tokens, expected.Text, expected.Tokens)
				}
				if found.PromptTokens != expected.PromptTokens || found.Bytes != expected.Bytes || found.Bytes4 != expected.Bytes4 {
					t.Errorf("after %q: %+v, in C++ %+v", prompt, found, expected)
				}
			})
		}
	}
}

func TestSplitPieces(t *testing.T) {
	for _, c := range []struct {
		text   string
		digits bool
		pieces []string
	}{
		{"Hello world", false, []string{"Hello", " world"}},
		{"it's they'LL we'll", false, []string{"it", "'s", " they", "'", "LL", " we", "'ll"}},
		{"a  b \n c ", false, []string{"a", " ", " b", " \n", " c", " "}},
		{"x = 42;", false, []string{"x", " =", " 42", ";"}},
		{"x = 42;", true, []string{"x", " =", " ", "4", "2", ";"}},
		{"ünïcödé ٣ \xff!", true, []string{"ünïcödé", " ", "٣", " \xff!"}},
		{"", true, nil},
	} {
		if pieces := splitPieces(c.text, c.digits); !slices.Equal(pieces, c.pieces) {
			t.Errorf("%q: %q, expected %q", c.text, pieces, c.pieces)
		}
	}
}

func TestBPE(t *testing.T) {
	tokenizer, _, err := OpenTokenizer(os.DirFS(withBPE(t, fixture)), &Config{VocabSize: 256})
	if err != nil {
		t.Fatal(err)
	}
	text := "the other\x00 and<|end|>café isn't"
	tokens := tokenizer.Encode(text)
	var back strings.Builder
	for _, token := range tokens {
		back.WriteString(tokenizer.Decode(token))
	}
	if back.String() != strings.ReplaceAll(text, "<|end|>", "") || !slices.Contains(tokens, 250) || len(tokens) > 24 {
		t.Errorf("%d tokens %v: %q", len(tokens), tokens, back.String())
	}
}

func TestWhatCannotRun(t *testing.T) {
	nothing := t.TempDir()
	for _, c := range []struct {
		o     options
		words string
	}{
		{options{model: filepath.Join(nothing, "none"), prompt: "x", tokens: 1}, "no such file"},
		{options{model: fixture, prompt: strings.Repeat("x", 300), tokens: 1}, "301 tokens"},
	} {
		err := run(context.Background(), c.o, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%v, expected words like %q", err, c.words)
		}
	}
	if err := run(context.Background(), options{model: nothing}, io.Discard, io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty directory: %v", err)
	}
	for _, text := range []string{`{"model_type": "gpt2"}`, `{"model_type": "llama", "hidden_act": "silu"}`, `[]`} {
		if _, err := ParseConfig([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), "config.json") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestInterruptEndsTheText(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	weights, err := OpenWeights(ctx, fixture, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer weights.Close()
	model, err := NewModel(weights)
	if err != nil {
		t.Fatal(err)
	}
	done, err := Generate(ctx, model, byteTokenizer{}, []int{65}, 100, nil, func(string) { cancel() })
	if err != nil || len(done.Tokens) != 1 {
		t.Errorf("%+v, %v", done, err)
	}
	if _, err := OpenWeights(ctx, quantized(t), 1); !errors.Is(err, context.Canceled) {
		t.Errorf("loading under a context that is done: %v", err)
	}
}
