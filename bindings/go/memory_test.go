package fourbit_test

import (
	"errors"
	"slices"
	"testing"

	fourbit "github.com/fourbit/fourbit/bindings/go"
)

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
