package fourbit_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	fourbit "github.com/fourbit/fourbit/bindings/go"
)

const norm = "model.norm.weight"

func loadModel(t *testing.T, quantizer *fourbit.Quantizer, plan *fourbit.Plan, load fourbit.LoadConfig) *fourbit.Model {
	t.Helper()
	model, err := quantizer.LoadModel(context.Background(), openFixture(t), plan, load)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { model.Close() })
	return model
}

func TestModel(t *testing.T) {
	on := newContext(t, 2)
	quantizer := newQuantizer(t, on)
	calls := 0
	model := loadModel(t, quantizer, nil, fourbit.LoadConfig{Progress: func(p fourbit.Progress) {
		calls++
		if p.Phase != fourbit.PhaseLoad || p.Done > p.Total {
			t.Errorf("%+v", p)
		}
	}})
	entries, err := model.Entries()
	if err != nil || len(entries) != 48 || calls == 0 {
		t.Fatalf("%d entries, %d calls, %v", len(entries), calls, err)
	}
	entry, err := model.Entry(downProj)
	if err != nil || !entry.Quantized || entry.DType != fourbit.BFloat16 || entry.Shape[1] != 352 || entry.Device != "" {
		t.Errorf("%+v, %v", entry, err)
	}
	weight, err := model.Weight(downProj)
	if err != nil {
		t.Fatal(err)
	}
	defer weight.Close()
	values, release, err := model.Borrow(norm)
	if err != nil {
		t.Fatal(err)
	}
	model.Close()
	collect()
	source := openFixture(t)
	if err := source.Tensor(norm, func(stored fourbit.Tensor) error {
		if !slices.Equal(stored.AsUint16s(), values.AsUint16s()) {
			t.Error("another tensor was borrowed")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	release()
	if err := source.Tensor(downProj, func(original fourbit.Tensor) error {
		measured, err := on.Measure(original, weight)
		if measured.SNR < 19 {
			t.Errorf("a weight after its model: %+v", measured)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if _, err := model.Weight(downProj); !errors.Is(err, fourbit.ErrClosed) {
		t.Errorf("a closed model: %v", err)
	}
}

func TestModelOnTheDisk(t *testing.T) {
	quantizer := newQuantizer(t, newContext(t, 1))
	plan := newPlan(t, quantizer, fourbit.PlanConfig{
		DType: fourbit.Float32, DeviceMap: "fit", MaxMemory: "cpu=200KiB", Offload: true,
	})
	model := loadModel(t, quantizer, plan, fourbit.LoadConfig{})
	entries, err := model.Entries()
	if err != nil {
		t.Fatal(err)
	}
	devices := map[string]int{}
	for _, entry := range entries {
		devices[entry.Device]++
	}
	if devices["disk"] == 0 || devices["cpu"] == 0 || len(devices) != 2 {
		t.Errorf("entries per device: %v", devices)
	}
	values := make([]float32, 128)
	if err := model.Read(norm, fourbit.Float32s(values)); err != nil || values[0] == 0 {
		t.Errorf("%g, %v", values[0], err)
	}
	if err := model.Read(norm, fourbit.Float32s(values[1:])); !errors.Is(err, fourbit.ShapeMismatch) {
		t.Errorf("127 elements of 128: %v", err)
	}
	_, err = quantizer.LoadModel(context.Background(), openFixture(t), plan, fourbit.LoadConfig{MaxMemory: 1})
	if !errors.Is(err, fourbit.OutOfMemory) {
		t.Errorf("a limit of one byte: %v", err)
	}
}

func TestCancelledLoad(t *testing.T) {
	quantizer := newQuantizer(t, newContext(t, 1))
	ctx, cancel := context.WithCancel(context.Background())
	load := fourbit.LoadConfig{Progress: func(fourbit.Progress) { cancel() }}
	if model, err := quantizer.LoadModel(ctx, openFixture(t), nil, load); !errors.Is(err, context.Canceled) || model != nil {
		t.Errorf("cancelled: %v", err)
	}
}

// Weights asked for by many goroutines while one closes the model.
func TestModelInUseAndClosed(t *testing.T) {
	model := loadModel(t, newQuantizer(t, newContext(t, 1)), nil, fourbit.LoadConfig{})
	var group sync.WaitGroup
	for i := range 6 {
		group.Add(1)
		go func() {
			defer group.Done()
			for range 20 {
				weight, err := model.Weight(downProj)
				if err == nil {
					_, err = weight.Info()
					weight.Close()
				}
				if err != nil && !errors.Is(err, fourbit.ErrClosed) {
					t.Error(err)
				}
			}
			if i == 0 {
				model.Close()
			}
		}()
	}
	group.Wait()
}

func TestFusedExperts(t *testing.T) {
	const experts, n, k = 3, 32, 64
	on := newContext(t, 1)
	fused, err := newQuantizer(t, on).Quantize(fourbit.Float32s(random(1, experts*n*k), experts, n, k))
	if err != nil {
		t.Fatal(err)
	}
	whole := make([]float32, experts*n*k)
	if err := on.Dequantize(fused, fourbit.Float32s(whole, experts, n, k)); err != nil {
		t.Fatal(err)
	}
	for e := range experts {
		expert, err := fused.Expert(e)
		if err != nil {
			t.Fatal(err)
		}
		defer expert.Close()
		one := make([]float32, n*k)
		if err := on.Dequantize(expert, fourbit.Float32s(one, n, k)); err != nil || !slices.Equal(one, whole[e*n*k:][:n*k]) {
			t.Errorf("expert %d: other values, %v", e, err)
		}
	}
	if _, err := fused.Expert(experts); !errors.Is(err, fourbit.InvalidArgument) {
		t.Errorf("one expert too many: %v", err)
	}
}
