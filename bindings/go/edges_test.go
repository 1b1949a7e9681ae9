package fourbit_test

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	fourbit "github.com/fourbit/fourbit/bindings/go"
)

func TestDevices(t *testing.T) {
	if count, err := fourbit.DeviceCount(fourbit.CPU); err != nil || count != 1 {
		t.Errorf("%d CPUs, %v", count, err)
	}
	info, err := fourbit.Device{}.Info()
	if err != nil || info.Name == "" || info.Processors < 1 || info.MemoryTotal < info.MemoryAvailable {
		t.Errorf("%+v, %v", info, err)
	}
	if _, err := (fourbit.Device{Kind: 77}).Info(); err == nil {
		t.Error("there is a device of kind 77")
	}
	if !fourbit.CPUHas(fourbit.Portable) || fourbit.CPUHas(99) {
		t.Error("instruction sets")
	}
	ctx := newContext(t, 1)
	if device, err := ctx.Device(); err != nil || device.String() != "cpu" {
		t.Errorf("%v, %v", device, err)
	}
	if err := ctx.Synchronize(); err != nil {
		t.Error(err)
	}
}

func TestLog(t *testing.T) {
	var messages atomic.Int64
	sink := func(level fourbit.LogLevel, text string) {
		if text == "" || level == fourbit.LogOff || level > fourbit.LogInfo {
			t.Errorf("%v: %q", level, text)
		}
		messages.Add(1)
		panic("is dropped")
	}
	if err := fourbit.SetLog(fourbit.LogInfo, sink); err != nil {
		t.Fatal(err)
	}
	defer fourbit.SetLog(fourbit.LogOff, nil)
	newContext(t, 2)
	if messages.Load() == 0 {
		t.Error("making a context said nothing")
	}
	if err := fourbit.SetLog(fourbit.LogInfo, nil); err != nil {
		t.Fatal(err)
	}
	said := messages.Load()
	newContext(t, 2)
	if messages.Load() != said {
		t.Error("a sink that was taken away got a message")
	}
}

func TestMemory(t *testing.T) {
	ctx := newContext(t, 1)
	memory, err := ctx.Alloc(4 * 64)
	if err != nil {
		t.Fatal(err)
	}
	ctx.Close() // the memory keeps what it needs
	source := random(1, 64)
	other := newContext(t, 1)
	err = memory.Tensor(fourbit.Float32, []int{8, 8}, func(inside fourbit.Tensor) error {
		return other.Copy(fourbit.Float32s(source, 8, 8), inside)
	})
	if err != nil {
		t.Fatal(err)
	}
	err = memory.Use(func(bytes []byte) error {
		if view := fourbit.View(bytes, fourbit.Float32); !slices.Equal(view.AsFloat32s(), source) {
			t.Error("other elements")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	memory.Close()
	if err := memory.Use(nil); !errors.Is(err, fourbit.ErrClosed) {
		t.Errorf("closed memory: %v", err)
	}
	for _, size := range []int{-1, 1 << 62} {
		if _, err := other.Alloc(size); err == nil {
			t.Errorf("%d bytes were had", size)
		}
	}
}

func TestStrides(t *testing.T) {
	ctx := newContext(t, 1)
	source := []float32{0, 1, 2, 3, 4, 5}
	transposed := make([]float32, 6)
	err := ctx.Copy(fourbit.Float32s(source).Strided([]int{3, 2}, []int{1, 3}), fourbit.Float32s(transposed, 3, 2))
	if err != nil || !slices.Equal(transposed, []float32{0, 3, 1, 4, 2, 5}) {
		t.Errorf("%v, %v", transposed, err)
	}
	for _, wrong := range [][2][]int{
		{{3, 2}, {1, 4}}, {{7}, {1}}, {{2}, {-1}}, {{-2}, {1}}, {{2}, {1, 1}}, {{1 << 62}, {1 << 62}}, {{1 << 40, 1 << 40}, {0, 0}},
	} {
		if view := fourbit.Float32s(source).Strided(wrong[0], wrong[1]); !errors.Is(view.Err(), fourbit.ShapeMismatch) {
			t.Errorf("%v was accepted: %v", wrong, view.Err())
		}
	}
	for _, shape := range [][]int{{-2, -3}, {7}, {1 << 62, 1 << 62}} {
		if view := fourbit.Float32s(source, shape...); !errors.Is(view.Err(), fourbit.ShapeMismatch) {
			t.Errorf("%v was accepted: %v", shape, view.Err())
		}
	}
}

func TestDLPackGoesRound(t *testing.T) {
	ctx := newContext(t, 1)
	weight, _ := newWeight(t, ctx, fourbit.QuantConfig{})
	var absmax []float32
	if err := weight.Parts(func(part fourbit.Part) error {
		if part.Name == "absmax" {
			absmax = slices.Clone(part.Tensor.AsFloat32s())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	exported, err := weight.DLPack(1)
	if err != nil {
		t.Fatal(err)
	}
	weight.Close()
	managed, err := exported.Release()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exported.ReadOnly(); !errors.Is(err, fourbit.ErrClosed) {
		t.Errorf("released, and yet: %v", err)
	}
	// As another library would.
	taken, err := fourbit.TakeDLPack(managed)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	err = taken.Tensor(func(part fourbit.Tensor) error {
		if len(absmax) == 0 || !slices.Equal(part.AsFloat32s(), absmax) {
			t.Error("other values")
		}
		if _, err := taken.Release(); !errors.Is(err, fourbit.InvalidState) {
			t.Errorf("released while in use: %v", err)
		}
		return nil
	})
	if readOnly, also := taken.ReadOnly(); err != nil || also != nil || !readOnly {
		t.Errorf("%v, %v, %v", readOnly, err, also)
	}
	if _, err := fourbit.TakeDLPack(nil); !errors.Is(err, fourbit.InvalidArgument) {
		t.Errorf("NULL: %v", err)
	}
}

func TestGroupedGemm(t *testing.T) {
	ctx := newContext(t, 2)
	offsets := []int64{0, 2, 2, 5}
	var experts []*fourbit.Weight
	quantizer := newQuantizer(t, ctx)
	for seed := range int64(3) {
		expert, err := quantizer.Quantize(fourbit.Float32s(random(seed, rows*columns), rows, columns))
		if err != nil {
			t.Fatal(err)
		}
		defer expert.Close()
		experts = append(experts, expert)
	}
	x, y := random(9, 5*columns), make([]float32, 5*rows)
	err := ctx.GroupedGemm(fourbit.Float32s(x, 5, columns), offsets, experts, fourbit.Float32s(y, 5, rows))
	if err != nil {
		t.Fatal(err)
	}
	expected := make([]float32, 5*rows)
	for e, expert := range experts {
		from, to := offsets[e], offsets[e+1]
		if from == to {
			continue
		}
		in, out := x[from*columns:to*columns], expected[from*rows:to*rows]
		if err := ctx.Gemm(fourbit.Float32s(in, int(to-from), columns), expert, fourbit.Float32s(out, int(to-from), rows)); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(y, expected) {
		t.Error("other values than one by one")
	}
	experts[1].Close()
	err = ctx.GroupedGemm(fourbit.Float32s(x, 5, columns), offsets, experts, fourbit.Float32s(y, 5, rows))
	if !errors.Is(err, fourbit.ErrClosed) {
		t.Errorf("a closed expert: %v", err)
	}
	err = ctx.GroupedGemm(fourbit.Float32s(x, 5, columns), offsets[1:], experts, fourbit.Float32s(y, 5, rows))
	if !errors.Is(err, fourbit.ShapeMismatch) {
		t.Errorf("too few offsets: %v", err)
	}
}

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
