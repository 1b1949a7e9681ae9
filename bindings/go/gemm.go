package fourbit

// #include "gemm.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// GemmOption changes how Gemm multiplies.
type GemmOption uint32

// Options.
const (
	// Transpose gives output = input · W, the gradient with respect to the input.
	Transpose GemmOption = C.FOURBIT_GEMM_TRANSPOSE
	// Accumulate adds to what the output holds.
	Accumulate GemmOption = C.FOURBIT_GEMM_ACCUMULATE
	// Exact asks for exact float32 products for every batch size.
	Exact GemmOption = C.FOURBIT_GEMM_EXACT
)

func flags(options []GemmOption) (flags C.uint32_t) {
	for _, option := range options {
		flags |= C.uint32_t(option)
	}
	return flags
}

// Gemm multiplies by a weight of shape [n, k]: output[…, n] = input[…, k] · Wᵀ. Input and output are
// float32, float16 or bfloat16, independently, and must not overlap. The same bits come out for any
// number of threads.
func (c *Context) Gemm(input Tensor, w *Weight, output Tensor, options ...GemmOption) error {
	return c.gemm(w, flags(options), input, Tensor{}, output)
}

// GemmBias is Gemm plus bias[n] (with Transpose, bias[k]) on every row.
func (c *Context) GemmBias(input Tensor, w *Weight, bias, output Tensor, options ...GemmOption) error {
	if bias.data == nil && bias.err == nil {
		return &Error{ShapeMismatch, fmt.Sprintf("the bias has no elements (shape %v)", bias.shape)}
	}
	return c.gemm(w, flags(options), input, bias, output)
}

// form is what C needs beside the pointers.
func (t *Tensor) form() C.fourbit_go_form {
	return C.fourbit_go_form{device: t.device.c(), dtype: t.dtype.c(), ndim: C.int32_t(len(t.shape))}
}

func bytesOf(p unsafe.Pointer) *C.uint8_t { return (*C.uint8_t)(p) }

func intsOf(values []int64) *C.int64_t { return (*C.int64_t)(unsafe.Pointer(unsafe.SliceData(values))) }

func (c *Context) gemm(w *Weight, flags C.uint32_t, x, bias, y Tensor) error {
	for _, t := range [...]*Tensor{&x, &bias, &y} {
		if t.err != nil {
			return t.err
		}
	}
	return c.withWeight(w, func(p *C.fourbit_context, weight *C.fourbit_weight) error {
		return call(func() C.fourbit_status {
			return C.fourbit_go_gemm(p, weight, flags,
				bytesOf(x.data), x.form(), intsOf(x.shape), intsOf(x.stride),
				bytesOf(bias.data), bias.form(), intsOf(bias.shape), intsOf(bias.stride),
				bytesOf(y.data), y.form(), intsOf(y.shape), intsOf(y.stride))
		})
	})
}

// GroupedGemm multiplies consecutive rows by one weight each, as the experts of a mixture need it: rows
// offsets[e] to offsets[e+1] of the input go through experts[e], into the same rows of the output. There
// are len(experts)+1 offsets, ascending from 0 to the number of rows; an expert may have none. All experts
// have one shape.
func (c *Context) GroupedGemm(input Tensor, offsets []int64, experts []*Weight, output Tensor, options ...GemmOption) error {
	if len(offsets) != len(experts)+1 {
		return &Error{ShapeMismatch, fmt.Sprintf("%d offsets for %d experts: one more than experts is expected", len(offsets), len(experts))}
	}
	config := C.fourbit_gemm_config{struct_size: C.sizeof_fourbit_gemm_config, flags: flags(options)}
	weights := make([]*C.fourbit_weight, len(experts))
	for i, expert := range experts {
		if expert == nil {
			return &Error{InvalidArgument, fmt.Sprintf("expert %d is nil", i)}
		}
		if err := expert.h.acquire(); err != nil {
			return err
		}
		defer expert.h.release()
		weights[i] = expert.h.object
	}
	first := unsafe.SliceData(weights)
	return c.h.with(func(p *C.fourbit_context) error {
		return withTensors(func(t []*C.fourbit_tensor) error {
			return call(func() C.fourbit_status {
				return C.fourbit_grouped_gemm(p, t[0], intsOf(offsets), first, C.size_t(len(experts)), &config, t[1])
			})
		}, input, output)
	})
}
