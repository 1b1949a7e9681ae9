package fourbit_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"

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
