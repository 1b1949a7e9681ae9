package fourbit

// #include <fourbit/fourbit.h>
import "C"

import (
	"unsafe"
)

// Weight is a 4-bit weight: packed codes and quant state. It never changes, and any number of goroutines
// may use one.
type Weight struct{ h *handle[*C.fourbit_weight] }

// WeightInfo is what a weight is.
type WeightInfo struct {
	Type QuantType
	// BlockSize is the number of elements per absmax.
	BlockSize int
	// DoubleQuant: the absmax values are quantized themselves.
	DoubleQuant bool
	// DType is that of the original.
	DType DType
	// Storage is the dtype that packed bytes are labelled with.
	Storage DType
	// Shape of the original: [out, in] for a linear layer.
	Shape []int64
	// Elements of the original.
	Elements uint64
	// Bytes of all parts.
	Bytes uint64
	// Device is where the weight is.
	Device Device
}

func newWeight(create func(out **C.fourbit_weight) C.fourbit_status) (*Weight, error) {
	var out *C.fourbit_weight
	if err := call(func() C.fourbit_status { return create(&out) }); err != nil {
		return nil, err
	}
	return &Weight{own(out, func(p *C.fourbit_weight) { C.fourbit_weight_destroy(p) }, nil)}, nil
}

// Quantize quantizes a tensor of float32, float16 or bfloat16, of any shape.
func (q *Quantizer) Quantize(source Tensor) (w *Weight, err error) {
	err = q.h.with(func(p *C.fourbit_quantizer) error {
		return withTensors(func(c []*C.fourbit_tensor) (err error) {
			w, err = newWeight(func(out **C.fourbit_weight) C.fourbit_status {
				return C.fourbit_quantize(p, c[0], out)
			})
			return err
		}, source)
	})
	return w, err
}

// DeserializeWeight reads what Serialize wrote. The bytes are copied.
func (c *Context) DeserializeWeight(image []byte) (w *Weight, err error) {
	bytes := (*C.uint8_t)(unsafe.Pointer(inText(image)))
	err = c.h.with(func(p *C.fourbit_context) (err error) {
		w, err = newWeight(func(out **C.fourbit_weight) C.fourbit_status {
			return C.fourbit_weight_deserialize(p, bytes, C.size_t(len(image)), out)
		})
		return err
	})
	return w, err
}

// Serialize writes the weight as one safetensors image.
func (w *Weight) Serialize() (image []byte, err error) {
	err = w.h.with(func(p *C.fourbit_weight) error {
		var length C.size_t
		err := call(func() C.fourbit_status { return C.fourbit_weight_serialize(p, nil, 0, &length) })
		if err != nil {
			return err
		}
		image = make([]byte, length)
		buffer := (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(image)))
		return call(func() C.fourbit_status { return C.fourbit_weight_serialize(p, buffer, length, &length) })
	})
	return image, err
}

// Dequantize decodes a weight into a tensor of its shape, of any float dtype.
func (c *Context) Dequantize(w *Weight, destination Tensor) error {
	return c.withWeight(w, func(p *C.fourbit_context, weight *C.fourbit_weight) error {
		return withTensors(func(t []*C.fourbit_tensor) error {
			return call(func() C.fourbit_status { return C.fourbit_dequantize(p, weight, t[0]) })
		}, destination)
	})
}

func (c *Context) withWeight(w *Weight, f func(*C.fourbit_context, *C.fourbit_weight) error) error {
	return c.h.with(func(p *C.fourbit_context) error {
		return w.h.with(func(weight *C.fourbit_weight) error { return f(p, weight) })
	})
}

// QuantError is how far a weight is from its source.
type QuantError struct {
	// Count is the number of elements compared.
	Count uint64
	// Max and Mean are of the absolute differences, RMS is the root of the mean squared one.
	Max, Mean, RMS float64
	// SNR is the signal-to-noise ratio in decibels.
	SNR float64
}

// Measure compares a weight with a source of its shape.
func (c *Context) Measure(source Tensor, w *Weight) (QuantError, error) {
	out := C.fourbit_quant_error{struct_size: C.sizeof_fourbit_quant_error}
	err := c.withWeight(w, func(p *C.fourbit_context, weight *C.fourbit_weight) error {
		return withTensors(func(t []*C.fourbit_tensor) error {
			return call(func() C.fourbit_status { return C.fourbit_quant_measure(p, t[0], weight, &out) })
		}, source)
	})
	return QuantError{
		Count: uint64(out.count), Max: float64(out.max_error), Mean: float64(out.mean_error),
		RMS: float64(out.rms_error), SNR: float64(out.snr_db),
	}, err
}

// Info describes the weight.
func (w *Weight) Info() (WeightInfo, error) {
	c := C.fourbit_weight_info{struct_size: C.sizeof_fourbit_weight_info}
	err := w.h.with(func(p *C.fourbit_weight) error {
		return call(func() C.fourbit_status { return C.fourbit_weight_query(p, &c) })
	})
	if err != nil {
		return WeightInfo{}, err
	}
	return WeightInfo{
		Type: QuantType(c.quant_type), BlockSize: int(c.block_size), DoubleQuant: c.double_quant == 1,
		DType: dtypeFrom(c.dtype), Storage: dtypeFrom(c.storage), Shape: intsFrom(&c.shape[0], c.ndim),
		Elements: uint64(c.element_count), Bytes: uint64(c.byte_size), Device: deviceFrom(c.device),
	}, nil
}

// CopyTo gives a weight with the same contents on a context's device. On the same device the bytes are
// shared, not copied.
func (w *Weight) CopyTo(c *Context) (copied *Weight, err error) {
	err = c.withWeight(w, func(p *C.fourbit_context, weight *C.fourbit_weight) (err error) {
		copied, err = newWeight(func(out **C.fourbit_weight) C.fourbit_status {
			return C.fourbit_weight_copy_to(weight, p, out)
		})
		return err
	})
	return copied, err
}

// Expert gives matrix index of a weight of three dimensions (fused experts: [experts, out, in] or [experts,
// in, out]) as a weight of its own, for Gemm and GroupedGemm; where it is [in, out], with Transpose. The codes
// are shared, not copied. It may outlive the fused weight.
func (w *Weight) Expert(index int) (expert *Weight, err error) {
	err = w.h.with(func(p *C.fourbit_weight) (err error) {
		expert, err = newWeight(func(out **C.fourbit_weight) C.fourbit_status {
			return C.fourbit_weight_expert(p, C.uint64_t(index), out)
		})
		return err
	})
	return expert, err
}

// Close gives the weight up.
func (w *Weight) Close() error {
	w.h.close()
	return nil
}
