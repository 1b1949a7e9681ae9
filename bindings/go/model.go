package fourbit

// #include "callbacks.h"
// #include <stdlib.h>
import "C"

import (
	"context"
	"sync"
	"unsafe"
)

// LoadConfig is how to load a model. Its zero value: no limit, and nobody is told.
type LoadConfig struct {
	// MaxMemory is the bytes that weights and casts may take; what is mapped does not count. A plan that
	// needs more is refused with OutOfMemory before anything is read. 0: no limit.
	MaxMemory uint64
	// Progress is as in SaveConfig.
	Progress func(Progress)
}

// ModelEntry is a tensor of a model, or a weight with its statistics.
type ModelEntry struct {
	Name string
	// Quantized tells a weight from a plain tensor.
	Quantized bool
	// DType and Shape are, of a weight, those of what it was quantized from.
	DType DType
	Shape []int64
	// Bytes of the tensor, or of the weight's codes and statistics.
	Bytes uint64
	// Device is where the plan puts it: "cpu" or "disk"; "" without a device map.
	Device string
}

// Model is a checkpoint in memory, every tensor as its plan says. Any number of goroutines may use one.
type Model struct{ h *handle[*C.fourbit_model] }

// LoadModel loads a checkpoint as plan says: weights are quantized, tensors cast, all at once and in
// parallel; what is stored as it is wanted stays mapped. Without a plan (nil), a checkpoint that is quantized
// already is taken as it is, and the automatic plan followed for any other.
//
// Entries planned on the disk are made when they are asked for, and not kept. A context that is done stops
// the work. Quantizer, checkpoint and plan may be closed afterwards; the files must not change.
func (q *Quantizer) LoadModel(ctx context.Context, source *Checkpoint, plan *Plan, load LoadConfig) (*Model, error) {
	config := C.fourbit_load_config{
		struct_size: C.sizeof_fourbit_load_config, max_memory: C.uint64_t(load.MaxMemory),
	}
	var out *C.fourbit_model
	by := func(by *C.fourbit_plan) error {
		return q.h.with(func(p *C.fourbit_quantizer) error {
			return source.h.with(func(k *C.fourbit_checkpoint) error {
				return convert(ctx, load.Progress, func(user C.uintptr_t) C.fourbit_status {
					return C.fourbit_go_model_load(p, k, by, &config, user, &out)
				})
			})
		})
	}
	var err error
	if plan == nil {
		err = by(nil)
	} else {
		err = plan.h.with(by)
	}
	if err != nil {
		return nil, err
	}
	return &Model{own(out, func(p *C.fourbit_model) { C.fourbit_model_destroy(p) }, q.h.loop)}, nil
}

// Entries lists tensors and weights in natural order of their names.
func (m *Model) Entries() (entries []ModelEntry, err error) {
	err = m.h.with(func(p *C.fourbit_model) error {
		var count C.size_t
		if err := call(func() C.fourbit_status { return C.fourbit_model_len(p, &count) }); err != nil {
			return err
		}
		entries = make([]ModelEntry, count)
		for i := range entries {
			if entries[i], err = modelEntry(p, C.size_t(i)); err != nil {
				return err
			}
		}
		return nil
	})
	return entries, err
}

// Entry finds a tensor or weight by name; NotFound if there is none.
func (m *Model) Entry(name string) (entry ModelEntry, err error) {
	err = m.named(name, func(p *C.fourbit_model, c *C.char) (err error) {
		var index C.size_t
		if err := call(func() C.fourbit_status { return C.fourbit_model_find(p, c, &index) }); err != nil {
			return err
		}
		entry, err = modelEntry(p, index)
		return err
	})
	return entry, err
}

func modelEntry(p *C.fourbit_model, index C.size_t) (ModelEntry, error) {
	c := C.fourbit_model_entry{struct_size: C.sizeof_fourbit_model_entry}
	if err := call(func() C.fourbit_status { return C.fourbit_model_get(p, index, &c) }); err != nil {
		return ModelEntry{}, err
	}
	return ModelEntry{
		Name: C.GoString(c.name), Quantized: c.kind == C.FOURBIT_CHECKPOINT_ENTRY_KIND_WEIGHT,
		DType: dtypeFrom(c.dtype), Shape: intsFrom(&c.shape[0], c.ndim), Bytes: uint64(c.byte_size),
		Device: C.GoString(c.device),
	}, nil
}

func (m *Model) named(name string, f func(p *C.fourbit_model, name *C.char) error) error {
	c := C.CString(name)
	defer C.free(unsafe.Pointer(c))
	return m.h.with(func(p *C.fourbit_model) error { return f(p, c) })
}

// Weight gives a weight of the model. It shares the model's bytes and may outlive it. One that is planned
// on the disk is quantized by this call.
func (m *Model) Weight(name string) (w *Weight, err error) {
	err = m.named(name, func(p *C.fourbit_model, c *C.char) (err error) {
		w, err = newWeight(func(out **C.fourbit_weight) C.fourbit_status { return C.fourbit_model_weight(p, c, out) })
		return err
	})
	return w, err
}

// Tensor lends a tensor in its planned type to visit; it must not be changed, nor used afterwards. One that is
// planned on the disk in another type than the stored one gives InvalidState: Read it.
func (m *Model) Tensor(name string, visit func(Tensor) error) error {
	return m.named(name, func(p *C.fourbit_model, c *C.char) error {
		var view C.fourbit_tensor
		if err := call(func() C.fourbit_status { return C.fourbit_model_tensor(p, c, &view) }); err != nil {
			return err
		}
		return visit(lent(&view))
	})
}

// Borrow gives a tensor, which must not be changed, until release gives it back, as Checkpoint.Borrow does.
func (m *Model) Borrow(name string) (t Tensor, release func(), err error) {
	if err := m.h.acquire(); err != nil {
		return Tensor{}, nil, err
	}
	if err := m.Tensor(name, func(view Tensor) error { t = view; return nil }); err != nil {
		m.h.release()
		return Tensor{}, nil, err
	}
	return t, sync.OnceFunc(m.h.release), nil
}

// Read copies a tensor, in its planned type, into one of that type and shape. What is planned on the disk is
// read, and cast, by this call.
func (m *Model) Read(name string, destination Tensor) error {
	return m.named(name, func(p *C.fourbit_model, c *C.char) error {
		return withTensors(func(t []*C.fourbit_tensor) error {
			return call(func() C.fourbit_status { return C.fourbit_model_read(p, c, t[0]) })
		}, destination)
	})
}

// Close gives the model up. Weights from it stay valid.
func (m *Model) Close() error {
	m.h.close()
	return nil
}
