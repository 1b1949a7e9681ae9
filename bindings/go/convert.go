package fourbit

// #include "callbacks.h"
// #include <stdlib.h>
import "C"

import (
	"context"
	"errors"
	"runtime/cgo"
	"unsafe"
)

// Phase is what a long operation is doing.
type Phase uint32

// Phases.
const (
	// PhaseScan reads weights for their absmax values, on which the layout of a double-quantized checkpoint
	// depends.
	PhaseScan Phase = C.FOURBIT_PHASE_SCAN
	// PhaseWrite converts and writes.
	PhaseWrite Phase = C.FOURBIT_PHASE_WRITE
	// PhaseLoad quantizes and casts into memory.
	PhaseLoad Phase = C.FOURBIT_PHASE_LOAD
)

// String is "scan", "write" or "load".
func (p Phase) String() string {
	switch p {
	case PhaseScan:
		return "scan"
	case PhaseWrite:
		return "write"
	}
	return "load"
}

// Progress is where a long operation is.
type Progress struct {
	Phase Phase
	// Tensor is the one at work.
	Tensor string
	// Done and Total are bytes of the source, over all phases.
	Done, Total uint64
}

// SaveConfig is how to write a checkpoint. Its zero value: files of up to 5 GB, nothing is replaced,
// tokenizer and other files are copied.
type SaveConfig struct {
	// Force replaces a checkpoint in the output directory, once the new one is complete.
	Force bool
	// MaxShardSize is the bytes of tensor data per file; 0: 5 GB.
	MaxShardSize uint64
	// NoSideFiles leaves tokenizer and other files out.
	NoSideFiles bool
	// Progress is told now and then, on the calling goroutine; it may be nil. A panic in it stops the
	// work, and goes on from the method that was called. It must not end its goroutine (runtime.Goexit,
	// which is what t.FailNow calls).
	Progress func(Progress)
}

func (s SaveConfig) c() C.fourbit_save_config {
	return C.fourbit_save_config{
		struct_size: C.sizeof_fourbit_save_config, force: c01(s.Force),
		max_shard_size: C.uint64_t(s.MaxShardSize), no_side_files: c01(s.NoSideFiles),
	}
}

// conversion is what the callback sees.
type conversion struct {
	ctx      context.Context
	progress func(Progress)
	panicked any
}

//export fourbitGoProgress
func fourbitGoProgress(user C.uintptr_t, p *C.fourbit_progress) (stop C.int32_t) {
	c := cgo.Handle(user).Value().(*conversion)
	// A panic must not unwind through the library; it goes on behind it.
	defer func() {
		if c.panicked = recover(); c.panicked != nil {
			stop = 1
		}
	}()
	if c.ctx.Err() != nil {
		return 1
	}
	if c.progress != nil {
		c.progress(Progress{
			Phase: Phase(p.phase), Tensor: C.GoString(p.tensor),
			Done: uint64(p.bytes_done), Total: uint64(p.bytes_total),
		})
	}
	return 0
}

// convert runs a conversion under a context.Context; cancelling it leaves nothing of the output.
func convert(ctx context.Context, progress func(Progress), run func(user C.uintptr_t) C.fourbit_status) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	state := &conversion{ctx: ctx, progress: progress}
	handle := cgo.NewHandle(state)
	defer handle.Delete()
	err := call(func() C.fourbit_status { return run(C.uintptr_t(handle)) })
	if state.panicked != nil {
		panic(state.panicked)
	}
	if errors.Is(err, Cancelled) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// QuantizeCheckpoint quantizes a checkpoint into a directory, as the plan says (nil: the automatic plan),
// with config.json and the files beside the weights. Weights are streamed: memory does not grow with the
// checkpoint. Files appear under their final names when all is written; a context that is done stops the
// work between two tensors' pieces, and nothing of the output remains.
func (q *Quantizer) QuantizeCheckpoint(ctx context.Context, source *Checkpoint, plan *Plan, outDir string, save SaveConfig) error {
	out, config := C.CString(outDir), save.c()
	defer C.free(unsafe.Pointer(out))
	quantize := func(by *C.fourbit_plan) error {
		return q.h.with(func(p *C.fourbit_quantizer) error {
			return source.h.with(func(k *C.fourbit_checkpoint) error {
				return convert(ctx, save.Progress, func(user C.uintptr_t) C.fourbit_status {
					return C.fourbit_go_quantize_checkpoint(p, k, by, out, &config, user)
				})
			})
		})
	}
	if plan == nil {
		return quantize(nil)
	}
	return plan.h.with(quantize)
}

// DequantizeCheckpoint turns a quantized checkpoint back into plain floats of a dtype; the zero DType
// is each weight's original one. Otherwise it works as QuantizeCheckpoint does.
func (c *Context) DequantizeCheckpoint(ctx context.Context, source *Checkpoint, dtype DType, outDir string, save SaveConfig) error {
	out, config := C.CString(outDir), save.c()
	defer C.free(unsafe.Pointer(out))
	return c.h.with(func(p *C.fourbit_context) error {
		return source.h.with(func(k *C.fourbit_checkpoint) error {
			return convert(ctx, save.Progress, func(user C.uintptr_t) C.fourbit_status {
				return C.fourbit_go_dequantize_checkpoint(p, k, dtype.c(), out, &config, user)
			})
		})
	})
}
