package fourbit

// #include "callbacks.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// ISA is an instruction set of a CPU.
type ISA uint32

// Instruction sets, oldest first within a kind of processor.
const (
	BestISA    ISA = C.FOURBIT_CPU_ISA_BEST
	Portable   ISA = C.FOURBIT_CPU_ISA_PORTABLE
	AVX2       ISA = C.FOURBIT_CPU_ISA_AVX2
	AVX512     ISA = C.FOURBIT_CPU_ISA_AVX512
	AVX512BF16 ISA = C.FOURBIT_CPU_ISA_AVX512_BF16
	AMX        ISA = C.FOURBIT_CPU_ISA_AMX
	NEON       ISA = C.FOURBIT_CPU_ISA_NEON
)

// ContextConfig is how a context is made. Its zero value is a good choice.
type ContextConfig struct {
	// Threads that work on a call, the caller's included; 0: one per processor. 1: none is started.
	Threads int
	// Device is where to compute; the zero value is the CPU.
	Device Device
	// MaxISA is the best instruction set to use.
	MaxISA ISA
	// Loop runs the library's tasks on the caller's goroutines instead of the library's threads, which
	// are then not started; nil: the library's threads. Results have the same bits either way. Going
	// through Go costs about a microsecond per task, so this is for programs that schedule everything
	// themselves.
	Loop Loop
	// CUDAStream is a CUstream; for CUDA contexts only.
	CUDAStream unsafe.Pointer
}

// Context is one device and the threads that serve it. Any number of goroutines may use one.
type Context struct{ h *handle[*C.fourbit_context] }

// NewContext makes a context.
func NewContext(config ContextConfig) (*Context, error) {
	if config.Threads < 0 || int(uint32(config.Threads)) != config.Threads {
		return nil, &Error{InvalidArgument, fmt.Sprintf("%d threads", config.Threads)}
	}
	c := C.fourbit_context_config{
		struct_size: C.sizeof_fourbit_context_config,
		num_threads: C.uint32_t(config.Threads),
		device:      config.Device.c(),
		cpu_isa_max: C.uint32_t(config.MaxISA),
		cuda_stream: config.CUDAStream,
	}
	var tasks *loop
	if config.Loop != nil {
		tasks = newLoop(config.Loop)
	}
	var out *C.fourbit_context
	err := call(func() C.fourbit_status { return C.fourbit_go_context_create(&c, tasks.c(), &out) })
	if err != nil {
		return nil, err
	}
	return &Context{own(out, func(p *C.fourbit_context) { C.fourbit_context_destroy(p) }, tasks)}, nil
}

// Threads is the number of threads that work on a call.
func (c *Context) Threads() (int, error) {
	var out C.uint32_t
	err := c.h.with(func(p *C.fourbit_context) error {
		return call(func() C.fourbit_status { return C.fourbit_context_query(p, nil, &out) })
	})
	return int(out), err
}

// Device is where the context computes.
func (c *Context) Device() (Device, error) {
	var out C.fourbit_device
	err := c.h.with(func(p *C.fourbit_context) error {
		return call(func() C.fourbit_status { return C.fourbit_context_query(p, &out, nil) })
	})
	return deviceFrom(out), err
}

// Synchronize waits until everything enqueued on the context is done. On the CPU every call is done when
// it returns.
func (c *Context) Synchronize() error {
	return c.h.with(func(p *C.fourbit_context) error {
		return call(func() C.fourbit_status { return C.fourbit_context_synchronize(p) })
	})
}

// Copy copies a tensor to another of the same shape and dtype; strides may differ. They must not overlap.
func (c *Context) Copy(source, destination Tensor) error {
	return c.h.with(func(p *C.fourbit_context) error {
		return withTensors(func(t []*C.fourbit_tensor) error {
			return call(func() C.fourbit_status { return C.fourbit_tensor_copy(p, t[0], t[1]) })
		}, source, destination)
	})
}

// Close gives the context up. What was made from it stays valid.
func (c *Context) Close() error {
	c.h.close()
	return nil
}
