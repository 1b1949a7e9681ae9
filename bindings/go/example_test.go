package fourbit_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	fourbit "github.com/fourbit/fourbit/bindings/go"
)

// need ends an example that cannot go on; a program would return the error.
func need[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// Quantize a matrix and multiply by it.
func Example() {
	const n, k = 64, 128
	weights, input, output := make([]float32, n*k), make([]float32, k), make([]float32, n)
	for i := range weights {
		weights[i] = 0.5
	}
	for i := range input {
		input[i] = 1
	}
	ctx, err := fourbit.NewContext(fourbit.ContextConfig{})
	if err != nil {
		panic(err)
	}
	defer ctx.Close()
	quantizer, err := ctx.NewQuantizer(fourbit.QuantConfig{})
	if err != nil {
		panic(err)
	}
	defer quantizer.Close()
	weight, err := quantizer.Quantize(fourbit.Float32s(weights, n, k))
	if err != nil {
		panic(err)
	}
	defer weight.Close()
	if err := ctx.Gemm(fourbit.Float32s(input), weight, fourbit.Float32s(output)); err != nil {
		panic(err)
	}
	fmt.Println(output[0])
	// Output: 64
}

// Plan a conversion, look at the plan, and follow it; a context.Context stops the work.
func ExampleQuantizer_QuantizeCheckpoint() {
	out := filepath.Join(need(os.MkdirTemp("", "fourbit")), "model-nf4")
	defer os.RemoveAll(filepath.Dir(out))
	on := need(fourbit.NewContext(fourbit.ContextConfig{}))
	defer on.Close()
	quantizer := need(on.NewQuantizer(fourbit.QuantConfig{DoubleQuant: true}))
	defer quantizer.Close()
	source := need(fourbit.OpenCheckpoint("../../tests/fixtures/tiny-llama"))
	defer source.Close()

	plan := need(quantizer.Plan(source, fourbit.PlanConfig{}))
	defer plan.Close()
	totals := need(plan.Totals())
	fmt.Printf("%d tensors become 4-bit, %d stay\n", totals.Converted, totals.Kept)
	head := need(plan.Entry("lm_head.weight"))
	fmt.Println(head.Name, head.Action, head.DType)

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var last fourbit.Progress
	save := fourbit.SaveConfig{Progress: func(p fourbit.Progress) { last = p }}
	if err := quantizer.QuantizeCheckpoint(ctx, source, plan, out, save); err != nil {
		panic(err)
	}
	fmt.Println(last.Done == last.Total)
	// Output:
	// 35 tensors become 4-bit, 13 stay
	// lm_head.weight keep bfloat16
	// true
}

// Errors have a kind, which errors.Is knows, and words.
func ExampleError() {
	_, err := fourbit.OpenCheckpoint("no/such/model")
	fmt.Println(errors.Is(err, fs.ErrNotExist))

	ctx := need(fourbit.NewContext(fourbit.ContextConfig{}))
	_, err = ctx.NewQuantizer(fourbit.QuantConfig{BlockSize: 65})
	var failure *fourbit.Error
	fmt.Println(errors.Is(err, fourbit.InvalidArgument), errors.As(err, &failure))

	ctx.Close()
	_, err = ctx.Threads()
	fmt.Println(errors.Is(err, fourbit.ErrClosed))
	// Output:
	// true
	// true true
	// true
}

// Look at what a checkpoint holds, without a copy.
func ExampleCheckpoint_Tensor() {
	checkpoint := need(fourbit.OpenCheckpointFS(os.DirFS("../../tests/fixtures"), "tiny-llama"))
	defer checkpoint.Close()
	err := checkpoint.Tensor("model.norm.weight", func(norm fourbit.Tensor) error {
		fmt.Println(norm.DType(), norm.Shape(), len(norm.AsUint16s()))
		return nil // norm must not be kept
	})
	fmt.Println(err)
	// Output:
	// bfloat16 [128] 128
	// <nil>
}

// Run the library's tasks on goroutines.
func ExampleLoop() {
	onGoroutines := func(count int, task func(i int)) {
		var group sync.WaitGroup
		for i := range count {
			group.Add(1)
			go func() {
				defer group.Done()
				task(i)
			}()
		}
		group.Wait()
	}
	ctx := need(fourbit.NewContext(fourbit.ContextConfig{Threads: 4, Loop: onGoroutines}))
	defer ctx.Close()
	fmt.Println(need(ctx.Threads()))
	// Output: 4
}

// Put a checkpoint together.
func ExampleWriter() {
	out := filepath.Join(need(os.MkdirTemp("", "fourbit")), "model")
	defer os.RemoveAll(filepath.Dir(out))
	writer := need(fourbit.NewWriter(out, fourbit.SaveConfig{}))
	defer writer.Close()
	if err := errors.Join(
		writer.AddTensor("norm.weight", fourbit.Float32s([]float32{1, 1, 1})),
		writer.SetConfig([]byte(`{"model_type": "llama"}`)),
		writer.Finish(context.Background()),
	); err != nil {
		panic(err)
	}
	checkpoint := need(fourbit.OpenCheckpoint(out))
	defer checkpoint.Close()
	fmt.Println(need(checkpoint.Entries())[0].Name)
	// Output: norm.weight
}

// Hand the library's messages to log/slog.
func ExampleSetLog() {
	err := fourbit.SetLog(fourbit.LogInfo, func(level fourbit.LogLevel, text string) {
		slog.Info(text, "from", "fourbit", "level", level)
	})
	fmt.Println(err, fourbit.SetLog(fourbit.LogOff, nil))
	// Output: <nil> <nil>
}
