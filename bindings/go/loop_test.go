package fourbit_test

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	fourbit "github.com/fourbit/fourbit/bindings/go"
)

// goroutines is a Loop on two goroutines.
func goroutines(count int, task func(i int)) {
	var group sync.WaitGroup
	group.Add(1)
	go func() {
		defer group.Done()
		for i := 1; i < count; i += 2 {
			task(i)
		}
	}()
	for i := 0; i < count; i += 2 {
		task(i)
	}
	group.Wait()
}

// product quantizes and multiplies on a context that runs its tasks through loop.
func product(t *testing.T, loop fourbit.Loop) []float32 {
	t.Helper()
	const n, k = 512, 1024
	ctx, err := fourbit.NewContext(fourbit.ContextConfig{Threads: 2, Loop: loop})
	if err != nil {
		t.Fatal(err)
	}
	defer ctx.Close()
	quantizer, err := ctx.NewQuantizer(fourbit.QuantConfig{DoubleQuant: true})
	if err != nil {
		t.Fatal(err)
	}
	defer quantizer.Close()
	weight, err := quantizer.Quantize(fourbit.Float32s(random(1, n*k), n, k))
	if err != nil {
		t.Fatal(err)
	}
	defer weight.Close()
	output := make([]float32, n)
	if err := ctx.Gemm(fourbit.Float32s(random(2, k)), weight, fourbit.Float32s(output)); err != nil {
		t.Fatal(err)
	}
	return output
}

func TestLoopGivesTheSameBits(t *testing.T) {
	expected := product(t, nil)
	var loops, tasks atomic.Int64
	counted := func(count int, task func(i int)) {
		loops.Add(1)
		tasks.Add(int64(count))
		goroutines(count, task)
	}
	if !slices.Equal(expected, product(t, counted)) {
		t.Error("other bits on goroutines")
	}
	if loops.Load() == 0 || tasks.Load() <= loops.Load() {
		t.Errorf("%d loops, %d tasks", loops.Load(), tasks.Load())
	}
}

// A loop that leaves tasks out, or runs them twice and after its return, does no harm.
func TestLoopOfBadManners(t *testing.T) {
	expected := product(t, nil)
	var late []func(int)
	bad := func(count int, task func(i int)) {
		for range 2 {
			for i := 0; i < count; i += 3 {
				task(i)
			}
		}
		late = append(late, task)
	}
	if !slices.Equal(expected, product(t, bad)) {
		t.Error("other bits")
	}
	for _, task := range late {
		task(0)
	}
	if len(late) == 0 {
		t.Error("the loop was not used")
	}
}

func TestPanicInLoopComesOutBehindTheLibrary(t *testing.T) {
	ctx, err := fourbit.NewContext(fourbit.ContextConfig{Threads: 2, Loop: func(int, func(int)) { panic("enough") }})
	if err != nil {
		t.Fatal(err)
	}
	defer ctx.Close()
	quantizer := newQuantizer(t, ctx)
	recovered := func() (value any) {
		defer func() { value = recover() }()
		_, err := quantizer.Quantize(fourbit.Float32s(random(1, 1<<20), 1<<10, 1<<10))
		return err
	}()
	if recovered != "enough" {
		t.Errorf("recovered %v", recovered)
	}
	// The context is none the worse for it, and the panic is not met again.
	if threads, err := ctx.Threads(); err != nil || threads != 2 {
		t.Errorf("afterwards: %d threads, %v", threads, err)
	}
}

// A quantizer keeps the loop of a context that has been closed and forgotten.
func TestLoopOutlivesItsContext(t *testing.T) {
	var loops atomic.Int64
	quantizer := func() *fourbit.Quantizer {
		ctx, err := fourbit.NewContext(fourbit.ContextConfig{Threads: 2, Loop: func(count int, task func(i int)) {
			loops.Add(1)
			goroutines(count, task)
		}})
		if err != nil {
			t.Fatal(err)
		}
		quantizer := newQuantizer(t, ctx)
		ctx.Close()
		return quantizer
	}()
	collect()
	weight, err := quantizer.Quantize(fourbit.Float32s(random(1, 1<<20), 1<<10, 1<<10))
	if err != nil || loops.Load() == 0 {
		t.Fatalf("%d loops, %v", loops.Load(), err)
	}
	weight.Close()
	quantizer.Close()
	if _, err := quantizer.Info(); !errors.Is(err, fourbit.ErrClosed) {
		t.Errorf("a closed quantizer: %v", err)
	}
}
