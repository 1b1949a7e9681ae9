package fourbit

// #include <fourbit/fourbit.h>
import "C"

import (
	"fmt"
	"unsafe"
)

// Alignment in bytes of Memory, the one that kernels like best. Go's own slices of more than a few
// kilobytes have it too.
const Alignment = C.FOURBIT_ALIGNMENT

// Memory is memory of a context's device, out of the collector's reach.
type Memory struct {
	h    *handle[unsafe.Pointer]
	size int
	// host: the processor can reach it.
	host   bool
	device Device
}

// Alloc allocates size bytes aligned to Alignment; their contents are undefined.
func (c *Context) Alloc(size int) (*Memory, error) {
	if size < 0 {
		return nil, &Error{InvalidArgument, fmt.Sprintf("%d bytes", size)}
	}
	device, err := c.Device()
	if err != nil {
		return nil, err
	}
	var out unsafe.Pointer
	// Memory needs its context to be freed, so it keeps it: also when the context is closed before.
	if err := c.h.acquire(); err != nil {
		return nil, err
	}
	err = call(func() C.fourbit_status { return C.fourbit_memory_alloc(c.h.object, C.size_t(size), &out) })
	if err != nil {
		c.h.release()
		return nil, err
	}
	context := c.h
	free := func(p unsafe.Pointer) {
		C.fourbit_memory_free(context.object, p)
		context.release()
	}
	return &Memory{own(out, free, nil), size, device.Kind != CUDA, device}, nil
}

// Use lends the bytes to visit, as long as it runs. On a CUDA device there is nothing that a slice could
// show: Unsupported.
func (m *Memory) Use(visit func(bytes []byte) error) error {
	if !m.host {
		return &Error{Unsupported, "memory of " + m.device.String() + " is out of the processor's reach: use Tensor"}
	}
	return m.h.with(func(p unsafe.Pointer) error { return visit(unsafe.Slice((*byte)(p), m.size)) })
}

// Tensor lends the memory as a tensor to visit, as long as it runs.
func (m *Memory) Tensor(dtype DType, shape []int, visit func(Tensor) error) error {
	return m.h.with(func(p unsafe.Pointer) error {
		t := viewOf(p, m.size, dtype, shape)
		t.device = m.device
		return visit(t)
	})
}

// Close gives the memory back.
func (m *Memory) Close() error {
	m.h.close()
	return nil
}
