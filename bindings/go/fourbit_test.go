package fourbit_test

import (
	"errors"
	"math"
	"math/rand"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	fourbit "github.com/fourbit/fourbit/bindings/go"
)

const (
	rows    = 24
	columns = 200 // no multiple of the block size: blocks straddle rows
)

func newContext(t testing.TB, threads int) *fourbit.Context {
	t.Helper()
	ctx, err := fourbit.NewContext(fourbit.ContextConfig{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ctx.Close() })
	return ctx
}

func random(seed int64, n int) []float32 {
	source := rand.New(rand.NewSource(seed))
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(source.NormFloat64())
	}
	return values
}

func newWeight(t *testing.T, ctx *fourbit.Context, config fourbit.QuantConfig) (*fourbit.Weight, []float32) {
	t.Helper()
	quantizer, err := ctx.NewQuantizer(config)
	if err != nil {
		t.Fatal(err)
	}
	defer quantizer.Close()
	source := random(1, rows*columns)
	weight, err := quantizer.Quantize(fourbit.Float32s(source, rows, columns))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { weight.Close() })
	return weight, source
}

func decoded(t *testing.T, ctx *fourbit.Context, weight *fourbit.Weight) []float32 {
	t.Helper()
	values := make([]float32, rows*columns)
	if err := ctx.Dequantize(weight, fourbit.Float32s(values, rows, columns)); err != nil {
		t.Fatal(err)
	}
	return values
}

func TestVersionsAgree(t *testing.T) {
	if fourbit.LoadedABIVersion() != fourbit.ABIVersion {
		t.Errorf("compiled against ABI %d, running %d", fourbit.ABIVersion, fourbit.LoadedABIVersion())
	}
	if fourbit.Version() != fourbit.HeaderVersion || !strings.Contains(fourbit.BuildInfo(), fourbit.VersionString()) {
		t.Errorf("compiled against %d, running %d, %q", fourbit.HeaderVersion, fourbit.Version(), fourbit.BuildInfo())
	}
	t.Log("versions:", fourbit.VersionString()) // tests/go/run.sh compares it with pkg-config's
}

func TestQuantizeAndMeasure(t *testing.T) {
	ctx := newContext(t, 2)
	for _, config := range []fourbit.QuantConfig{
		{}, {Type: fourbit.FP4}, {BlockSize: 128, DoubleQuant: true}, {Rule: fourbit.BnbCUDA},
	} {
		weight, source := newWeight(t, ctx, config)
		info, err := weight.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Type != config.Type || info.DoubleQuant != config.DoubleQuant || info.Shape[1] != columns {
			t.Errorf("%+v gave %+v", config, info)
		}
		var sum float64
		for i, value := range decoded(t, ctx, weight) {
			sum += float64(value-source[i]) * float64(value-source[i])
		}
		measured, err := ctx.Measure(fourbit.Float32s(source, rows, columns), weight)
		if err != nil {
			t.Fatal(err)
		}
		if rms := math.Sqrt(sum / float64(len(source))); math.Abs(measured.RMS/rms-1) > 1e-6 || measured.SNR < 17 {
			t.Errorf("%+v: RMS %g, measured %+v", config, rms, measured)
		}
	}
}

func TestGemm(t *testing.T) {
	const m = 3
	ctx := newContext(t, 2)
	weight, _ := newWeight(t, ctx, fourbit.QuantConfig{})
	w, x, bias := decoded(t, ctx, weight), random(2, m*columns), random(3, rows)
	y := make([]float32, m*rows)
	err := ctx.GemmBias(fourbit.Float32s(x, m, columns), weight, fourbit.Float32s(bias), fourbit.Float32s(y, m, rows))
	if err != nil {
		t.Fatal(err)
	}
	gradient := make([]float32, m*columns)
	err = ctx.Gemm(fourbit.Float32s(y, m, rows), weight, fourbit.Float32s(gradient, m, columns), fourbit.Transpose)
	if err != nil {
		t.Fatal(err)
	}
	for i := range m {
		for n := range rows {
			sum := float64(bias[n])
			for k := range columns {
				sum += float64(x[i*columns+k]) * float64(w[n*columns+k])
			}
			if math.Abs(sum-float64(y[i*rows+n])) > 1e-4 {
				t.Fatalf("y[%d, %d] = %g, expected %g", i, n, y[i*rows+n], sum)
			}
		}
		for k := range columns {
			var sum float64
			for n := range rows {
				sum += float64(y[i*rows+n]) * float64(w[n*columns+k])
			}
			if math.Abs(sum-float64(gradient[i*columns+k])) > 1e-3 {
				t.Fatalf("gradient[%d, %d] = %g, expected %g", i, k, gradient[i*columns+k], sum)
			}
		}
	}
}

func TestPartsGoRound(t *testing.T) {
	ctx := newContext(t, 1)
	weight, _ := newWeight(t, ctx, fourbit.QuantConfig{DoubleQuant: true})
	image, err := weight.Serialize()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	var again *fourbit.Weight
	var parts []fourbit.Part
	err = weight.Parts(func(part fourbit.Part) error {
		names = append(names, part.Name)
		parts = append(parts, part)
		if len(parts) == 6 { // still inside a visit: the tensors are lent
			again, err = ctx.WeightFromParts(parts)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got := strings.Join(names, ","); got != ",absmax,quant_map,nested_absmax,nested_quant_map,quant_state.bitsandbytes__nf4" {
		t.Errorf("parts %q", got)
	}
	read, err := ctx.DeserializeWeight(image)
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	for _, copied := range []*fourbit.Weight{again, read} {
		if other, err := copied.Serialize(); err != nil || string(other) != string(image) {
			t.Errorf("the copy differs (%v)", err)
		}
	}
}

func TestErrorsHaveStatusAndWords(t *testing.T) {
	ctx := newContext(t, 1)
	_, err := ctx.NewQuantizer(fourbit.QuantConfig{BlockSize: 65})
	var failure *fourbit.Error
	if !errors.As(err, &failure) || !errors.Is(err, fourbit.InvalidArgument) || !strings.Contains(err.Error(), "65") {
		t.Errorf("block size 65: %v", err)
	}
	quantizer, err := ctx.NewQuantizerFromJSON([]byte(`{"load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer quantizer.Close()
	if _, err := quantizer.Quantize(fourbit.Float32s(make([]float32, 5), 2, 3)); !errors.Is(err, fourbit.ShapeMismatch) {
		t.Errorf("5 elements of shape [2, 3]: %v", err)
	}
	if _, err := quantizer.Quantize(fourbit.Uint8s(make([]byte, 64))); !errors.Is(err, fourbit.DTypeUnsupported) {
		t.Errorf("bytes: %v", err)
	}
	if text, err := quantizer.JSON(); err != nil || !strings.Contains(string(text), `"nf4"`) {
		t.Errorf("JSON %s, %v", text, err)
	}
}

func TestSkipModules(t *testing.T) {
	ctx := newContext(t, 1)
	quantizer, err := ctx.NewQuantizer(fourbit.QuantConfig{SkipModules: []string{"lm_head", "self_attn.q_proj"}})
	if err != nil {
		t.Fatal(err)
	}
	defer quantizer.Close()
	text, err := quantizer.JSON()
	if err != nil || !strings.Contains(string(text), "self_attn.q_proj") {
		t.Errorf("JSON %s, %v", text, err)
	}
}

func TestUseAfterClose(t *testing.T) {
	ctx := newContext(t, 1)
	weight, _ := newWeight(t, ctx, fourbit.QuantConfig{})
	weight.Close()
	weight.Close()
	if _, err := weight.Info(); !errors.Is(err, fourbit.ErrClosed) {
		t.Errorf("a closed weight: %v", err)
	}
	ctx.Close()
	if _, err := ctx.Threads(); !errors.Is(err, fourbit.ErrClosed) {
		t.Errorf("a closed context: %v", err)
	}
}

// Calls that race with Close work or say ErrClosed, and each thread has its own words.
func TestConcurrentUseAndClose(t *testing.T) {
	ctx := newContext(t, 2)
	weight, _ := newWeight(t, ctx, fourbit.QuantConfig{})
	var group sync.WaitGroup
	for i := range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			x, y := random(int64(i), columns), make([]float32, rows)
			for range 20 {
				err := ctx.Gemm(fourbit.Float32s(x), weight, fourbit.Float32s(y))
				if err != nil && !errors.Is(err, fourbit.ErrClosed) {
					t.Error(err)
				}
				_, err = ctx.NewQuantizer(fourbit.QuantConfig{BlockSize: 7000 + i})
				if err == nil || !strings.Contains(err.Error(), "700"+string(rune('0'+i))) {
					t.Errorf("goroutine %d got the words %v", i, err)
				}
			}
			weight.Close()
		}()
	}
	group.Wait()
}

// collect runs the collector, and gives cleanups the time to run.
func collect() {
	for range 3 {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
}
