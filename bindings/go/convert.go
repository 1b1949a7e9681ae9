package fourbit

// #include <fourbit/fourbit.h>
// #include <stdlib.h>
// extern int32_t fourbitGoProgress(void *user, struct fourbit_progress *progress);
// static int32_t fourbit_go_progress(void *user, const struct fourbit_progress *progress) {
//     return fourbitGoProgress(user, (struct fourbit_progress *)progress);
// }
// static fourbit_status fourbit_go_quantize(const fourbit_quantizer *quantizer,
//                                           const fourbit_checkpoint *checkpoint, const char *out_dir,
//                                           const fourbit_save_config *config, uintptr_t user) {
//     return fourbit_quantize_checkpoint(quantizer, checkpoint, NULL, out_dir, config,
//                                        fourbit_go_progress, (void *)user);
// }
// static fourbit_status fourbit_go_dequantize(const fourbit_context *context,
//                                             const fourbit_checkpoint *checkpoint, fourbit_dtype dtype,
//                                             const char *out_dir, const fourbit_save_config *config,
//                                             uintptr_t user) {
//     return fourbit_dequantize_checkpoint(context, checkpoint, dtype, out_dir, config,
//                                          fourbit_go_progress, (void *)user);
// }
import "C"

import (
	"context"
	"runtime/cgo"
	"unsafe"
)

// Progress is where a long operation is. Both phases count in source bytes.
type Progress struct {
	// Writing is false while weights are read for their absmax values, on which the layout depends.
	Writing bool
	// Tensor is the one at work.
	Tensor      string
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
	// Progress is told now and then, on the calling goroutine. It may be nil.
	Progress func(Progress)
}

func (s SaveConfig) c() C.fourbit_save_config {
	c := C.fourbit_save_config{
		struct_size: C.sizeof_fourbit_save_config, max_shard_size: C.uint64_t(s.MaxShardSize),
	}
	if s.Force {
		c.force = 1
	}
	if s.NoSideFiles {
		c.no_side_files = 1
	}
	return c
}

// conversion is what the callback sees.
type conversion struct {
	ctx      context.Context
	progress func(Progress)
	panicked any
}

//export fourbitGoProgress
func fourbitGoProgress(user unsafe.Pointer, p *C.struct_fourbit_progress) (stop C.int32_t) {
	c := cgo.Handle(uintptr(user)).Value().(*conversion)
	if c.ctx.Err() != nil {
		return 1
	}
	if c.progress == nil {
		return 0
	}
	// A panic must not unwind through the library; it goes on behind it.
	defer func() {
		if c.panicked = recover(); c.panicked != nil {
			stop = 1
		}
	}()
	c.progress(Progress{
		Writing: p.phase == C.FOURBIT_PHASE_WRITE, Tensor: C.GoString(p.tensor),
		Done: uint64(p.bytes_done), Total: uint64(p.bytes_total),
	})
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
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// QuantizeCheckpoint quantizes a checkpoint into a directory, converting what the automatic plan
// says. Weights are streamed: memory does not grow with the checkpoint.
func (q *Quantizer) QuantizeCheckpoint(ctx context.Context, source *Checkpoint, outDir string, save SaveConfig) error {
	out, config := C.CString(outDir), save.c()
	defer C.free(unsafe.Pointer(out))
	return q.h.with(func(p *C.fourbit_quantizer) error {
		return source.h.with(func(k *C.fourbit_checkpoint) error {
			return convert(ctx, save.Progress, func(user C.uintptr_t) C.fourbit_status {
				return C.fourbit_go_quantize(p, k, out, &config, user)
			})
		})
	})
}

// DequantizeCheckpoint turns a quantized checkpoint back into plain floats of a dtype; the zero DType
// is each weight's original one.
func (c *Context) DequantizeCheckpoint(ctx context.Context, source *Checkpoint, dtype DType, outDir string, save SaveConfig) error {
	out, config := C.CString(outDir), save.c()
	defer C.free(unsafe.Pointer(out))
	return c.h.with(func(p *C.fourbit_context) error {
		return source.h.with(func(k *C.fourbit_checkpoint) error {
			return convert(ctx, save.Progress, func(user C.uintptr_t) C.fourbit_status {
				return C.fourbit_go_dequantize(p, k, dtype.c(), out, &config, user)
			})
		})
	})
}
