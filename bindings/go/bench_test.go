package fourbit_test

import (
	"testing"

	fourbit "github.com/fourbit/fourbit/bindings/go"
)

// What a call costs beside its work: nothing but crossing over, a method that takes a handle, and the
// smallest product there is.

func BenchmarkCrossing(b *testing.B) {
	for b.Loop() {
		fourbit.Version()
	}
}

func BenchmarkMethod(b *testing.B) {
	ctx := newContext(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ctx.Threads(); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkGemm(b *testing.B, config fourbit.ContextConfig, n, k int) {
	ctx, err := fourbit.NewContext(config)
	if err != nil {
		b.Fatal(err)
	}
	defer ctx.Close()
	quantizer, err := ctx.NewQuantizer(fourbit.QuantConfig{})
	if err != nil {
		b.Fatal(err)
	}
	defer quantizer.Close()
	weight, err := quantizer.Quantize(fourbit.Float32s(random(1, n*k), n, k))
	if err != nil {
		b.Fatal(err)
	}
	defer weight.Close()
	x, y := random(2, k), make([]float32, n)
	b.ReportAllocs()
	for b.Loop() {
		if err := ctx.Gemm(fourbit.Float32s(x), weight, fourbit.Float32s(y)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGemm(b *testing.B) {
	b.Run("smallest", func(b *testing.B) { benchmarkGemm(b, fourbit.ContextConfig{Threads: 1}, 1, 64) })
	b.Run("4096x4096", func(b *testing.B) { benchmarkGemm(b, fourbit.ContextConfig{Threads: 1}, 4096, 4096) })
	b.Run("4096x4096, 2 threads", func(b *testing.B) { benchmarkGemm(b, fourbit.ContextConfig{Threads: 2}, 4096, 4096) })
	b.Run("4096x4096, 2 goroutines", func(b *testing.B) {
		benchmarkGemm(b, fourbit.ContextConfig{Threads: 2, Loop: goroutines}, 4096, 4096)
	})
}
