// Command llama continues a text with a Llama, from a 16-bit or a 4-bit checkpoint: an engine in Go over
// fourbit that writes, token for token, what the one in C++ (examples/llama in fourbit's repository) writes.
//
//	go run ./examples/llama --model DIR --prompt "The capital of France is"
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
)

// options are the command line.
type options struct {
	model, prompt string
	tokens        int
	threads       int
	ignoreEOS     bool
	json          bool
}

func parse(arguments []string) (o options, err error) {
	set := flag.NewFlagSet("llama", flag.ContinueOnError)
	set.StringVar(&o.model, "model", "", "a Hugging Face checkpoint `directory` of a Llama, 16-bit or 4-bit")
	set.StringVar(&o.prompt, "prompt", "", "the `text` to continue")
	set.IntVar(&o.tokens, "tokens", 128, "at most so many new tokens")
	set.IntVar(&o.threads, "threads", 0, "0: one per processor")
	set.BoolVar(&o.ignoreEOS, "ignore-eos", false, "go on after the end of the text")
	set.BoolVar(&o.json, "json", false, "a summary in JSON instead of streamed text")
	if err := set.Parse(arguments); err != nil {
		return o, err
	}
	switch {
	case o.model == "" || o.prompt == "":
		err = errors.New("--model and --prompt are needed")
	case o.tokens < 1 || o.threads < 0:
		err = errors.New("--tokens must be at least 1, --threads at least 0")
	case set.NArg() > 0:
		err = fmt.Errorf("%q is no option", set.Arg(0))
	}
	if err != nil {
		set.Usage()
	}
	return o, err
}

func run(ctx context.Context, o options, out, words io.Writer) error {
	weights, err := OpenWeights(ctx, o.model, o.threads)
	if err != nil {
		return err
	}
	defer weights.Close()
	tokenizer, start, err := OpenTokenizer(os.DirFS(o.model), weights.Config)
	if err != nil {
		return err
	}
	model, err := NewModel(weights)
	if err != nil {
		return err
	}
	var stop []int
	if !o.ignoreEOS {
		stop = weights.Config.EOSToken
	}
	stream := func(text string) {
		if !o.json {
			io.WriteString(out, text)
		}
	}
	stream(o.prompt)
	done, err := Generate(ctx, model, tokenizer, append(start, tokenizer.Encode(o.prompt)...), o.tokens, stop, stream)
	if err != nil {
		return err
	}
	if o.json {
		return writeJSON(out, o, done, weights)
	}
	fmt.Fprintln(out)
	writeWords(words, done, weights)
	return nil
}

// writeWords says how fast it was, and how many bytes of weights a token reads.
func writeWords(out io.Writer, done *Generation, weights *Weights) {
	all, fourBit := weights.BytesPerToken()
	speed := perSecond(done.Decoded, done.DecodeTime)
	fmt.Fprintf(out, "\nprompt: %d tokens, %.1f tokens/s; generated: %d tokens, %.1f tokens/s\n",
		done.PromptTokens, perSecond(done.PromptTokens, done.PromptTime), len(done.Tokens), speed)
	fmt.Fprintf(out, "weights read per token: %.1f MB (%.1f MB of it 4-bit), %.1f GB/s\n",
		float64(all)/1e6, float64(fourBit)/1e6, speed*float64(all)/1e9)
}

func writeJSON(out io.Writer, o options, done *Generation, weights *Weights) error {
	all, fourBit := weights.BytesPerToken()
	return json.NewEncoder(out).Encode(map[string]any{
		"model": o.model, "prompt": o.prompt, "text": done.Text, "tokens": done.Tokens,
		"prompt_tokens":               done.PromptTokens,
		"prompt_tokens_per_second":    perSecond(done.PromptTokens, done.PromptTime),
		"decode_tokens_per_second":    perSecond(done.Decoded, done.DecodeTime),
		"weight_bytes_per_token":      all,
		"weight_bytes_per_token_4bit": fourBit,
	})
}

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "llama:", err)
		os.Exit(2)
	}
	// Ctrl-C ends the text, not the program.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "llama:", err)
		os.Exit(1)
	}
}
