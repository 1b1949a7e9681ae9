package fourbit

// #include <fourbit/fourbit.h>
// #include <stdlib.h>
import "C"

import (
	"context"
	"sync"
	"unsafe"
)

// Writer is a checkpoint being put together. It takes one call at a time and makes others wait.
type Writer struct {
	h  *handle[*C.fourbit_writer]
	mu sync.Mutex
}

// NewWriter starts a checkpoint that Finish will write to a directory. Of save, Progress and NoSideFiles
// have no meaning here.
func NewWriter(outDir string, save SaveConfig) (*Writer, error) {
	out, config := C.CString(outDir), save.c()
	defer C.free(unsafe.Pointer(out))
	var p *C.fourbit_writer
	if err := call(func() C.fourbit_status { return C.fourbit_writer_create(out, &config, &p) }); err != nil {
		return nil, err
	}
	return &Writer{h: own(p, func(p *C.fourbit_writer) { C.fourbit_writer_destroy(p) }, nil)}, nil
}

// one lends the writer to one call.
func (w *Writer) one(f func(p *C.fourbit_writer) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.h.with(f)
}

// AddTensor adds a tensor; its elements are copied.
func (w *Writer) AddTensor(name string, tensor Tensor) error {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return w.one(func(p *C.fourbit_writer) error {
		return withTensors(func(t []*C.fourbit_tensor) error {
			return call(func() C.fourbit_status { return C.fourbit_writer_add_tensor(p, text, t[0]) })
		}, tensor)
	})
}

// AddWeight adds a weight under the names bitsandbytes gives its parts: name, name.absmax and so on.
func (w *Writer) AddWeight(name string, weight *Weight) error {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return w.one(func(p *C.fourbit_writer) error {
		return weight.h.with(func(c *C.fourbit_weight) error {
			return call(func() C.fourbit_status { return C.fourbit_writer_add_weight(p, text, c) })
		})
	})
}

// SetMetadata sets a key of every file's metadata. "format" is "pt" unless set otherwise.
func (w *Writer) SetMetadata(key, value string) error {
	k, v := C.CString(key), C.CString(value)
	defer C.free(unsafe.Pointer(k))
	defer C.free(unsafe.Pointer(v))
	return w.one(func(p *C.fourbit_writer) error {
		return call(func() C.fourbit_status { return C.fourbit_writer_set_metadata(p, k, v) })
	})
}

// SetConfig sets the text of config.json.
func (w *Writer) SetConfig(text []byte) error {
	return w.one(func(p *C.fourbit_writer) error {
		return call(func() C.fourbit_status {
			return C.fourbit_writer_set_config(p, inText(text), C.size_t(len(text)))
		})
	})
}

// Finish writes everything; files appear under their final names when all of it is on disk. On failure
// nothing remains, and the writer may be finished again. A context that is done before the writing starts
// keeps it from starting.
func (w *Writer) Finish(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return w.one(func(p *C.fourbit_writer) error {
		return call(func() C.fourbit_status { return C.fourbit_writer_finish(p) })
	})
}

// Close gives the writer up. Unfinished, it has written nothing.
func (w *Writer) Close() error {
	w.h.close()
	return nil
}
