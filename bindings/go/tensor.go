package fourbit

// #include <fourbit/fourbit.h>
import "C"

import (
	"fmt"
	"math/bits"
	"runtime"
	"unsafe"
)

// Tensor is a view of a slice, or of memory that the library lends; it owns nothing. Make one for
// a call and let it go.
type Tensor struct {
	data   unsafe.Pointer
	bytes  int // of all elements, without gaps
	dtype  DType
	shape  []int64
	stride []int64 // in elements; nil: compact
	device Device
	err    error
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
	return viewOf(unsafe.Pointer(unsafe.SliceData(data)), len(data), dtype, shape)
}

func view[T any](data []T, dtype DType, shape []int) Tensor {
	return viewOf(unsafe.Pointer(unsafe.SliceData(data)), len(data)*dtype.Size(), dtype, shape)
}

func viewOf(data unsafe.Pointer, bytes int, dtype DType, shape []int) Tensor {
	size := dtype.Size()
	if size == 0 || bytes%size != 0 {
		return bad("%d bytes are no elements of %v", bytes, dtype)
	}
	count := bytes / size
	if len(shape) == 0 {
		shape = []int{count}
	}
	t := Tensor{data: data, bytes: bytes, dtype: dtype, shape: make([]int64, len(shape))}
	for i, size := range shape {
		t.shape[i] = int64(size)
	}
	if elements, fits := elementsOf(t.shape); !fits || elements != count {
		return bad("%d elements for a tensor of shape %v", count, shape)
	}
	return t
}

func bad(format string, args ...any) Tensor {
	return Tensor{err: &Error{ShapeMismatch, fmt.Sprintf(format, args...)}}
}

// elementsOf multiplies sizes, and tells whether they make sense.
func elementsOf(shape []int64) (count int, fits bool) {
	product := uint64(1)
	for _, size := range shape {
		high, low := bits.Mul64(product, uint64(size))
		if size < 0 || high != 0 || low>>62 != 0 {
			return 0, false
		}
		product = low
	}
	return int(product), true
}

// Strided views some of a tensor's elements: the one at (i, j, …) is i·strides[0] + j·strides[1] + …
// elements behind the first. Strides are not negative, and no element lies outside.
func (t Tensor) Strided(shape, strides []int) Tensor {
	if t.err != nil {
		return t
	}
	if t.stride != nil || len(shape) != len(strides) {
		return bad("strides %v for shape %v: one for each dimension, of a tensor that is compact", strides, shape)
	}
	view := t
	view.shape, view.stride = make([]int64, len(shape)), make([]int64, len(shape))
	last, available := 0, t.bytes/t.dtype.Size()
	for i, size := range shape {
		view.shape[i], view.stride[i] = int64(size), int64(strides[i])
		high, reach := bits.Mul64(uint64(max(size-1, 0)), uint64(strides[i]))
		if size < 0 || strides[i] < 0 || high != 0 || reach > uint64(available) {
			return bad("shape %v with strides %v reaches beyond %d elements", shape, strides, available)
		}
		last += int(reach)
	}
	count, fits := elementsOf(view.shape)
	if !fits || count > 0 && last >= available {
		return bad("shape %v with strides %v reaches beyond %d elements", shape, strides, available)
	}
	view.bytes = count * t.dtype.Size()
	return view
}

// DType is the element type.
func (t Tensor) DType() DType { return t.dtype }

// Device is where the elements are.
func (t Tensor) Device() Device { return t.device }

// Shape has the sizes, outermost first. It must not be changed.
func (t Tensor) Shape() []int64 { return t.shape }

// Err is what is wrong with the tensor: a call that is given it returns the same.
func (t Tensor) Err() error { return t.err }

// Bytes has the elements' memory, not a copy of it; nil if they have gaps between them or are out of the
// processor's reach. It must not be changed where the library lent it.
func (t Tensor) Bytes() []byte {
	if t.stride != nil || t.device.Kind == CUDA {
		return nil
	}
	return unsafe.Slice((*byte)(t.data), t.bytes)
}

// AsFloat32s is Bytes as float32; nil if they are something else.
func (t Tensor) AsFloat32s() []float32 {
	if t.dtype != Float32 || t.Bytes() == nil {
		return nil
	}
	return unsafe.Slice((*float32)(t.data), t.bytes/4)
}

// AsUint16s is Bytes as bit patterns of float16 or bfloat16; nil if they are something else.
func (t Tensor) AsUint16s() []uint16 {
	if t.dtype != Float16 && t.dtype != BFloat16 || t.Bytes() == nil {
		return nil
	}
	return unsafe.Slice((*uint16)(t.data), t.bytes/2)
}

// pinned gives the C struct, whose pointers stay valid until the pinner unpins. (Pinning leaves memory
// alone that is not Go's.)
func (t Tensor) pinned(pinner *runtime.Pinner) (*C.fourbit_tensor, error) {
	if t.err != nil {
		return nil, t.err
	}
	c := &C.fourbit_tensor{
		data: t.data, device: t.device.c(), ndim: C.int32_t(len(t.shape)), dtype: t.dtype.c(),
	}
	if t.data != nil {
		pinner.Pin(t.data)
	}
	c.shape, c.strides = pinnedInts(t.shape, pinner), pinnedInts(t.stride, pinner)
	return c, nil
}

func pinnedInts(values []int64, pinner *runtime.Pinner) *C.int64_t {
	if len(values) == 0 {
		return nil
	}
	first := unsafe.SliceData(values)
	pinner.Pin(first)
	return (*C.int64_t)(unsafe.Pointer(first))
}

// lent is the view of a tensor of the library's.
func lent(c *C.fourbit_tensor) Tensor {
	t := Tensor{dtype: dtypeFrom(c.dtype), device: deviceFrom(c.device), shape: intsFrom(c.shape, c.ndim)}
	t.data = unsafe.Add(c.data, c.byte_offset)
	count, _ := elementsOf(t.shape)
	t.bytes = count * t.dtype.Size()
	return t
}

func intsFrom(c *C.int64_t, count C.int32_t) []int64 {
	values := make([]int64, count)
	if count > 0 {
		copy(values, unsafe.Slice((*int64)(unsafe.Pointer(c)), count))
	}
	return values
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
