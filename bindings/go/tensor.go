package fourbit

// #include <fourbit/fourbit.h>
import "C"

import (
	"fmt"
	"runtime"
	"unsafe"
)

// Tensor is a view of a slice, or of memory that the library lends; it owns nothing. Make one for
// a call and let it go.
type Tensor struct {
	data  unsafe.Pointer
	bytes int
	dtype DType
	shape []int64
	// lent: the memory is the library's, and out of the collector's reach.
	lent bool
	err  error
}

// Float32s views a slice as a tensor. Without a shape it is one vector. If the number of elements
// is not the shape's, the call that is given the tensor says so.
func Float32s(data []float32, shape ...int) Tensor { return view(data, Float32, shape) }

// Float16s views bit patterns of float16.
func Float16s(data []uint16, shape ...int) Tensor { return view(data, Float16, shape) }

// BFloat16s views bit patterns of bfloat16.
func BFloat16s(data []uint16, shape ...int) Tensor { return view(data, BFloat16, shape) }

// Uint8s views bytes.
func Uint8s(data []uint8, shape ...int) Tensor { return view(data, Uint8, shape) }

// View views the bytes of elements of any dtype, little-endian.
func View(data []byte, dtype DType, shape ...int) Tensor {
	if dtype.Size() == 0 || len(data)%dtype.Size() != 0 {
		return Tensor{err: &Error{ShapeMismatch, fmt.Sprintf("%d bytes are no elements of %v", len(data), dtype)}}
	}
	return viewOf(unsafe.Pointer(unsafe.SliceData(data)), len(data)/dtype.Size(), dtype, shape)
}

func view[T any](data []T, dtype DType, shape []int) Tensor {
	return viewOf(unsafe.Pointer(unsafe.SliceData(data)), len(data), dtype, shape)
}

func viewOf(data unsafe.Pointer, count int, dtype DType, shape []int) Tensor {
	if len(shape) == 0 {
		shape = []int{count}
	}
	t := Tensor{data: data, bytes: count * dtype.Size(), dtype: dtype, shape: make([]int64, len(shape))}
	elements := 1
	for i, size := range shape {
		t.shape[i] = int64(size)
		elements *= size
	}
	if elements != count {
		t.err = &Error{ShapeMismatch, fmt.Sprintf("%d elements for a tensor of shape %v", count, shape)}
	}
	return t
}

// DType is the element type.
func (t Tensor) DType() DType { return t.dtype }

// Shape has the sizes, outermost first. It must not be changed.
func (t Tensor) Shape() []int64 { return t.shape }

// Bytes has the elements' memory, not a copy of it. It must not be changed where the library lent it.
func (t Tensor) Bytes() []byte { return unsafe.Slice((*byte)(t.data), t.bytes) }

// pinned gives the C struct, whose pointers stay valid until the pinner unpins.
func (t Tensor) pinned(pinner *runtime.Pinner) (*C.fourbit_tensor, error) {
	if t.err != nil {
		return nil, t.err
	}
	c := &C.fourbit_tensor{data: t.data, ndim: C.int32_t(len(t.shape)), dtype: t.dtype.c()}
	if t.data != nil && !t.lent {
		pinner.Pin(t.data)
	}
	if len(t.shape) > 0 {
		shape := unsafe.SliceData(t.shape)
		pinner.Pin(shape)
		c.shape = (*C.int64_t)(unsafe.Pointer(shape))
	}
	return c, nil
}

// lent is the view of a tensor of the library's, which is compact.
func lent(c *C.fourbit_tensor) Tensor {
	t := Tensor{dtype: dtypeFrom(c.dtype), lent: true, shape: make([]int64, c.ndim)}
	copy(t.shape, unsafe.Slice((*int64)(unsafe.Pointer(c.shape)), int(c.ndim)))
	t.data = unsafe.Add(c.data, c.byte_offset)
	t.bytes = t.dtype.Size()
	for _, size := range t.shape {
		t.bytes *= int(size)
	}
	return t
}

// withTensors pins tensors for the length of a call.
func withTensors(f func(c []*C.fourbit_tensor) error, tensors ...Tensor) error {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	c := make([]*C.fourbit_tensor, len(tensors))
	for i, t := range tensors {
		var err error
		if c[i], err = t.pinned(&pinner); err != nil {
			return err
		}
	}
	return f(c)
}
