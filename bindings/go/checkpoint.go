package fourbit

// #include <fourbit/fourbit.h>
// #include <stdlib.h>
import "C"

import (
	"os"
	"sync"
	"unsafe"
)

// Checkpoint is an open checkpoint; its files are mapped and must not be changed meanwhile. (Replacing
// them by renaming is fine.) Any number of goroutines may use one.
type Checkpoint struct {
	h *handle[*C.fourbit_checkpoint]
}

// Entry is a tensor of a checkpoint, or a quantized weight with its statistics.
type Entry struct {
	Name string
	// Quantized tells a weight from a plain tensor.
	Quantized bool
	// DType and Shape are what is stored: of a weight, those of the packed bytes.
	DType DType
	Shape []int64
	// Bytes stored, a weight's statistics included.
	Bytes uint64
}

// OpenCheckpoint opens a directory, an index or one .safetensors file, and checks every header.
// A path that leads nowhere gives an error of the os package.
func OpenCheckpoint(path string) (*Checkpoint, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	c := C.CString(path)
	defer C.free(unsafe.Pointer(c))
	var out *C.fourbit_checkpoint
	if err := call(func() C.fourbit_status { return C.fourbit_checkpoint_open(c, &out) }); err != nil {
		return nil, err
	}
	return &Checkpoint{own(out, func(p *C.fourbit_checkpoint) { C.fourbit_checkpoint_destroy(p) }, nil)}, nil
}

// Entries lists tensors and weights in natural order of their names.
func (k *Checkpoint) Entries() (entries []Entry, err error) {
	err = k.h.with(func(p *C.fourbit_checkpoint) error {
		var count C.size_t
		if err := call(func() C.fourbit_status { return C.fourbit_checkpoint_len(p, &count) }); err != nil {
			return err
		}
		entries = make([]Entry, count)
		for i := range entries {
			if entries[i], err = checkpointEntry(p, C.size_t(i)); err != nil {
				return err
			}
		}
		return nil
	})
	return entries, err
}

// Entry finds a tensor or weight by name; NotFound if there is none.
func (k *Checkpoint) Entry(name string) (entry Entry, err error) {
	err = k.withEntry(name, func(p *C.fourbit_checkpoint, index C.size_t) (err error) {
		entry, err = checkpointEntry(p, index)
		return err
	})
	return entry, err
}

func checkpointEntry(p *C.fourbit_checkpoint, index C.size_t) (Entry, error) {
	c := C.fourbit_checkpoint_entry{struct_size: C.sizeof_fourbit_checkpoint_entry}
	if err := call(func() C.fourbit_status { return C.fourbit_checkpoint_get(p, index, &c) }); err != nil {
		return Entry{}, err
	}
	return Entry{
		Name: C.GoString(c.name), Quantized: c.kind == C.FOURBIT_CHECKPOINT_ENTRY_KIND_WEIGHT,
		DType: dtypeFrom(c.dtype), Bytes: uint64(c.byte_size), Shape: intsFrom(&c.shape[0], c.ndim),
	}, nil
}

// withEntry finds an entry by name.
func (k *Checkpoint) withEntry(name string, f func(p *C.fourbit_checkpoint, index C.size_t) error) error {
	c := C.CString(name)
	defer C.free(unsafe.Pointer(c))
	return k.h.with(func(p *C.fourbit_checkpoint) error {
		var index C.size_t
		if err := call(func() C.fourbit_status { return C.fourbit_checkpoint_find(p, c, &index) }); err != nil {
			return err
		}
		return f(p, index)
	})
}

// Tensor lends a plain tensor, mapped, to visit; it must not be changed, nor used afterwards.
func (k *Checkpoint) Tensor(name string, visit func(Tensor) error) error {
	return k.withEntry(name, func(p *C.fourbit_checkpoint, index C.size_t) error {
		var c C.fourbit_tensor
		err := call(func() C.fourbit_status { return C.fourbit_checkpoint_tensor(p, index, &c) })
		if err != nil {
			return err
		}
		return visit(lent(&c))
	})
}

// Borrow gives a plain tensor, mapped, which must not be changed; release gives it back. Until then the
// files stay mapped, also if the checkpoint is closed. (What is forgotten is unmapped when the collector
// finds that nothing refers to release any more, whatever still refers to the tensor.)
func (k *Checkpoint) Borrow(name string) (t Tensor, release func(), err error) {
	if err := k.h.acquire(); err != nil {
		return Tensor{}, nil, err
	}
	if err := k.Tensor(name, func(mapped Tensor) error { t = mapped; return nil }); err != nil {
		k.h.release()
		return Tensor{}, nil, err
	}
	return t, sync.OnceFunc(k.h.release), nil
}

// Weight opens a quantized weight in place, without a copy. It may outlive the checkpoint.
func (k *Checkpoint) Weight(ctx *Context, name string) (w *Weight, err error) {
	err = k.withEntry(name, func(p *C.fourbit_checkpoint, index C.size_t) error {
		return ctx.h.with(func(on *C.fourbit_context) (err error) {
			w, err = newWeight(func(out **C.fourbit_weight) C.fourbit_status {
				return C.fourbit_checkpoint_weight(p, on, index, out)
			})
			return err
		})
	})
	return w, err
}

// Config is the text of config.json.
func (k *Checkpoint) Config() (text []byte, err error) {
	err = k.h.with(func(p *C.fourbit_checkpoint) (err error) {
		text, err = readText(func(buffer *C.char, capacity C.size_t, length *C.size_t) C.fourbit_status {
			return C.fourbit_checkpoint_config(p, buffer, capacity, length)
		})
		return err
	})
	return text, err
}

// Close gives the checkpoint up. Weights from it stay valid.
func (k *Checkpoint) Close() error {
	k.h.close()
	return nil
}
