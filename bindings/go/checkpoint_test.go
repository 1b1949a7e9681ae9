package fourbit_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	fourbit "github.com/fourbit/fourbit/bindings/go"
)

const fixture = "../../tests/fixtures/tiny-llama"

func openFixture(t testing.TB) *fourbit.Checkpoint {
	t.Helper()
	checkpoint, err := fourbit.OpenCheckpoint(fixture)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checkpoint.Close() })
	return checkpoint
}

func newQuantizer(t testing.TB, ctx *fourbit.Context) *fourbit.Quantizer {
	t.Helper()
	quantizer, err := ctx.NewQuantizer(fourbit.QuantConfig{DoubleQuant: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { quantizer.Close() })
	return quantizer
}

func TestCheckpointGoesRound(t *testing.T) {
	ctx, source := newContext(t, 2), openFixture(t)
	quantizer := newQuantizer(t, ctx)
	dir := filepath.Join(t.TempDir(), "nf4")
	var last fourbit.Progress
	save := fourbit.SaveConfig{Progress: func(p fourbit.Progress) { last = p }}
	if err := quantizer.QuantizeCheckpoint(context.Background(), source, nil, dir, save); err != nil {
		t.Fatal(err)
	}
	if last.Total == 0 || last.Done != last.Total || last.Phase != fourbit.PhaseWrite {
		t.Errorf("last progress %+v", last)
	}
	quantized, err := fourbit.OpenCheckpoint(dir)
	if err != nil {
		t.Fatal(err)
	}
	compareWithSource(t, ctx, source, quantized)

	text, err := quantized.Config()
	var config struct {
		Quantization struct {
			Type string `json:"bnb_4bit_quant_type"`
		} `json:"quantization_config"`
	}
	if err != nil || json.Unmarshal(text, &config) != nil || config.Quantization.Type != "nf4" {
		t.Errorf("config.json: %v, %v", config, err)
	}

	weight, err := quantized.Weight(ctx, "model.layers.0.mlp.down_proj.weight")
	if err != nil {
		t.Fatal(err)
	}
	defer weight.Close()
	quantized.Close()
	if info, err := weight.Info(); err != nil || info.DType != fourbit.BFloat16 || info.Shape[1] != 352 {
		t.Errorf("a weight after its checkpoint: %+v, %v", info, err)
	}
}

// compareWithSource checks that every tensor is there, and that weights are near their source.
func compareWithSource(t *testing.T, ctx *fourbit.Context, source, quantized *fourbit.Checkpoint) {
	t.Helper()
	entries, err := quantized.Entries()
	if err != nil {
		t.Fatal(err)
	}
	weights := 0
	for _, entry := range entries {
		err := source.Tensor(entry.Name, func(original fourbit.Tensor) error {
			if !entry.Quantized {
				return nil
			}
			weights++
			weight, err := quantized.Weight(ctx, entry.Name)
			if err != nil {
				return err
			}
			defer weight.Close()
			measured, err := ctx.Measure(original, weight)
			if measured.SNR < 19 || math.IsNaN(measured.SNR) {
				t.Errorf("%s: %+v", entry.Name, measured)
			}
			return err
		})
		if err != nil {
			t.Errorf("%s: %v", entry.Name, err)
		}
	}
	if len(entries) != 48 || weights != 35 {
		t.Errorf("%d entries, %d of them weights", len(entries), weights)
	}
}

func TestCancelledConversionLeavesNothing(t *testing.T) {
	source := openFixture(t)
	quantizer := newQuantizer(t, newContext(t, 1))
	dir := filepath.Join(t.TempDir(), "nf4")
	ctx, cancel := context.WithCancel(context.Background())
	save := fourbit.SaveConfig{Progress: func(fourbit.Progress) { cancel() }}
	if err := quantizer.QuantizeCheckpoint(ctx, source, nil, dir, save); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

func TestPanicInProgressComesOutBehindTheLibrary(t *testing.T) {
	source := openFixture(t)
	quantizer := newQuantizer(t, newContext(t, 1))
	defer func() {
		if r := recover(); r != "enough" {
			t.Errorf("recovered %v", r)
		}
	}()
	save := fourbit.SaveConfig{Progress: func(fourbit.Progress) { panic("enough") }}
	err := quantizer.QuantizeCheckpoint(context.Background(), source, nil, filepath.Join(t.TempDir(), "x"), save)
	t.Errorf("returned %v", err)
}

func TestDequantizeCheckpoint(t *testing.T) {
	ctx := newContext(t, 2)
	source := openFixture(t)
	dir := t.TempDir()
	err := newQuantizer(t, ctx).QuantizeCheckpoint(context.Background(), source, nil, filepath.Join(dir, "nf4"), fourbit.SaveConfig{})
	if err != nil {
		t.Fatal(err)
	}
	quantized, err := fourbit.OpenCheckpoint(filepath.Join(dir, "nf4"))
	if err != nil {
		t.Fatal(err)
	}
	defer quantized.Close()
	back := filepath.Join(dir, "back")
	err = ctx.DequantizeCheckpoint(context.Background(), quantized, fourbit.DType{}, back, fourbit.SaveConfig{})
	if err != nil {
		t.Fatal(err)
	}
	before, after := fileSize(t, fixture), fileSize(t, back)
	if math.Abs(float64(before)/float64(after)-1) > 0.01 {
		t.Errorf("%d bytes became %d", before, after)
	}
}

func fileSize(t *testing.T, dir string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestWhatIsNotThere(t *testing.T) {
	if _, err := fourbit.OpenCheckpoint("no/such/model"); err == nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such directory: %v", err)
	}
	if err := openFixture(t).Tensor("no.such.tensor", nil); !errors.Is(err, fourbit.NotFound) {
		t.Errorf("no such tensor: %v", err)
	}
}
