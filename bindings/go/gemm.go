package fourbit

// #include <fourbit/fourbit.h>
import "C"

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

// Gemm multiplies by a weight of shape [n, k]: output[…, n] = input[…, k] · Wᵀ. Input and output are
// float32, float16 or bfloat16, independently, and must not overlap.
func (c *Context) Gemm(input Tensor, w *Weight, output Tensor, options ...GemmOption) error {
	return c.gemm(w, options, nil, input, output)
}

// GemmBias is Gemm plus bias[n] (with Transpose, bias[k]) on every row.
func (c *Context) GemmBias(input Tensor, w *Weight, bias, output Tensor, options ...GemmOption) error {
	return c.gemm(w, options, &bias, input, output)
}

func (c *Context) gemm(w *Weight, options []GemmOption, bias *Tensor, input, output Tensor) error {
	config := C.fourbit_gemm_config{struct_size: C.sizeof_fourbit_gemm_config}
	for _, option := range options {
		config.flags |= C.uint32_t(option)
	}
	tensors := []Tensor{input, output}
	if bias != nil {
		tensors = append(tensors, *bias)
	}
	return c.withWeight(w, func(p *C.fourbit_context, weight *C.fourbit_weight) error {
		return withTensors(func(t []*C.fourbit_tensor) error {
			var added *C.fourbit_tensor
			if len(t) == 3 {
				added = t[2]
			}
			return call(func() C.fourbit_status { return C.fourbit_gemm(p, t[0], weight, added, &config, t[1]) })
		}, tensors...)
	})
}
