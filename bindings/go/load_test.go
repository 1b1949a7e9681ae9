package fourbit_test

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	fourbit "github.com/fourbit/fourbit/bindings/go"
)

//go:embed go.mod
var embedded embed.FS

func TestCheckpointsInFileSystems(t *testing.T) {
	checkpoint, err := fourbit.OpenCheckpointFS(os.DirFS(fixture), "model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	checkpoint.Close()
	if _, err := fourbit.OpenCheckpointFS(os.DirFS(fixture), "none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such name: %v", err)
	}
	if _, err := fourbit.OpenCheckpointFS(embedded, "go.mod"); !errors.Is(err, fourbit.Unsupported) || !strings.Contains(err.Error(), "embed.FS") {
		t.Errorf("an embedded file: %v", err)
	}
}

func TestBorrowedTensorsOutliveTheirCheckpoint(t *testing.T) {
	checkpoint := openFixture(t)
	tensor, release, err := checkpoint.Borrow(head)
	if err != nil {
		t.Fatal(err)
	}
	checkpoint.Close()
	collect()
	var sum uint64
	for _, value := range tensor.AsUint16s() {
		sum += uint64(value)
	}
	if sum == 0 || tensor.Shape()[1] != 128 {
		t.Errorf("sum %d, shape %v", sum, tensor.Shape())
	}
	release()
	release()
	if _, _, err := checkpoint.Borrow(head); !errors.Is(err, fourbit.ErrClosed) {
		t.Errorf("a closed checkpoint: %v", err)
	}
}

// quantizedFixture is the fixture in 4 bits.
func quantizedFixture(t *testing.T, ctx *fourbit.Context) *fourbit.Checkpoint {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "nf4")
	err := newQuantizer(t, ctx).QuantizeCheckpoint(context.Background(), openFixture(t), nil, dir, fourbit.SaveConfig{})
	if err != nil {
		t.Fatal(err)
	}
	quantized, err := fourbit.OpenCheckpoint(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { quantized.Close() })
	return quantized
}

func TestLoadWeights(t *testing.T) {
	ctx := newContext(t, 2)
	quantized := quantizedFixture(t, ctx)
	weights, err := quantized.LoadWeights(context.Background(), ctx)
	if err != nil || len(weights) != 35 {
		t.Fatalf("%d weights, %v", len(weights), err)
	}
	for _, weight := range weights {
		weight.Close()
	}
	if weights, err = quantized.LoadWeights(context.Background(), ctx, downProj, downProj); err != nil || len(weights) != 1 {
		t.Errorf("%d weights, %v", len(weights), err)
	}
	_, err = quantized.LoadWeights(context.Background(), ctx, downProj, "no.such")
	if !errors.Is(err, fourbit.NotFound) || !strings.Contains(err.Error(), "no.such") {
		t.Errorf("no such weight: %v", err)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := quantized.LoadWeights(cancelled, ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// big is a checkpoint that takes a while.
func big(t *testing.T) *fourbit.Checkpoint {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "big")
	writer, err := fourbit.NewWriter(dir, fourbit.SaveConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	matrix := random(1, 1<<20)
	for i := range 32 {
		if err := writer.AddTensor(fmt.Sprintf("model.layers.%d.mlp.up_proj.weight", i), fourbit.Float32s(matrix, 1<<10, 1<<10)); err != nil {
			t.Fatal(err)
		}
	}
	config := `{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 32, "dtype": "float32"}`
	if err := errors.Join(writer.SetConfig([]byte(config)), writer.Finish(context.Background())); err != nil {
		t.Fatal(err)
	}
	checkpoint, err := fourbit.OpenCheckpoint(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checkpoint.Close() })
	return checkpoint
}

// A deadline stops work that is under way, without any callback of the program's.
func TestDeadlineStopsAConversion(t *testing.T) {
	source := big(t)
	quantizer := newQuantizer(t, newContext(t, 1))
	dir := filepath.Join(t.TempDir(), "nf4")
	began := time.Now()
	if err := quantizer.QuantizeCheckpoint(context.Background(), source, nil, dir, fourbit.SaveConfig{}); err != nil {
		t.Fatal(err)
	}
	whole := time.Since(began)
	again := filepath.Join(t.TempDir(), "nf4")
	ctx, cancel := context.WithTimeout(context.Background(), whole/10)
	defer cancel()
	err := quantizer.QuantizeCheckpoint(ctx, source, nil, again, fourbit.SaveConfig{})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a tenth of the time: %v", err)
	}
	if files, _ := filepath.Glob(filepath.Join(again, "*")); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}
