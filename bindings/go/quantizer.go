package fourbit

// #include <fourbit/fourbit.h>
import "C"

import "runtime"

// QuantType is a 4-bit data type.
type QuantType uint32

// 4-bit data types.
const (
	NF4 QuantType = C.FOURBIT_QUANT_TYPE_NF4
	FP4 QuantType = C.FOURBIT_QUANT_TYPE_FP4
)

// String is "nf4" or "fp4".
func (q QuantType) String() string {
	if q == FP4 {
		return "fp4"
	}
	return "nf4"
}

// Rule says whose codes to give where bitsandbytes' CPU and CUDA code differ.
type Rule uint32

// Rules.
const (
	DefaultRule Rule = C.FOURBIT_QUANT_RULE_DEFAULT
	BnbCPU      Rule = C.FOURBIT_QUANT_RULE_BNB_CPU
	BnbCUDA     Rule = C.FOURBIT_QUANT_RULE_BNB_CUDA
)

// QuantConfig is how to quantize. Its zero value is NF4, block size 64, no double quantization.
type QuantConfig struct {
	Type QuantType
	// BlockSize is the number of elements per absmax: 32, 64, …, 4096; 0: 64.
	BlockSize int
	// DoubleQuant quantizes the absmax values to 8 bits.
	DoubleQuant bool
	Rule        Rule
	// ComputeDType is bnb_4bit_compute_dtype of configurations that are written.
	ComputeDType DType
	// Storage is the dtype that packed bytes are labelled with.
	Storage DType
	// SkipModules is llm_int8_skip_modules; nil is transformers' own choice, an empty list is not.
	SkipModules []string
	// FP32CPUOffload is llm_int8_enable_fp32_cpu_offload of configurations that are written.
	FP32CPUOffload bool
}

// Quantizer is a validated configuration on a context. Any number of goroutines may use one.
type Quantizer struct{ h *handle[*C.fourbit_quantizer] }

// NewQuantizer checks a configuration.
func (c *Context) NewQuantizer(config QuantConfig) (*Quantizer, error) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	names := cStrings(config.SkipModules, &pinner)
	defer names.free()
	cfg := C.fourbit_quant_config{
		struct_size:       C.sizeof_fourbit_quant_config,
		quant_type:        C.uint32_t(config.Type),
		block_size:        C.uint32_t(config.BlockSize),
		double_quant:      c01(config.DoubleQuant),
		rule:              C.uint32_t(config.Rule),
		compute_dtype:     config.ComputeDType.c(),
		storage:           config.Storage.c(),
		fp32_cpu_offload:  c01(config.FP32CPUOffload),
		skip_modules:      names.pointer(),
		skip_module_count: C.size_t(len(config.SkipModules)),
	}
	return c.quantizer(func(p *C.fourbit_context, out **C.fourbit_quantizer) C.fourbit_status {
		return C.fourbit_quantizer_create(p, &cfg, out)
	})
}

// NewQuantizerFromJSON reads a quantization_config of config.json, with transformers' defaults.
func (c *Context) NewQuantizerFromJSON(json []byte) (*Quantizer, error) {
	return c.quantizer(func(p *C.fourbit_context, out **C.fourbit_quantizer) C.fourbit_status {
		return C.fourbit_quantizer_from_json(p, inText(json), C.size_t(len(json)), out)
	})
}

func (c *Context) quantizer(create func(*C.fourbit_context, **C.fourbit_quantizer) C.fourbit_status) (*Quantizer, error) {
	var out *C.fourbit_quantizer
	err := c.h.with(func(p *C.fourbit_context) error {
		return call(func() C.fourbit_status { return create(p, &out) })
	})
	if err != nil {
		return nil, err
	}
	return &Quantizer{own(out, func(p *C.fourbit_quantizer) { C.fourbit_quantizer_destroy(p) }, c.h.loop)}, nil
}

// JSON is the quantization_config that describes what the quantizer makes.
func (q *Quantizer) JSON() ([]byte, error) {
	var text []byte
	err := q.h.with(func(p *C.fourbit_quantizer) (err error) {
		text, err = readText(func(buffer *C.char, capacity C.size_t, length *C.size_t) C.fourbit_status {
			return C.fourbit_quantizer_to_json(p, buffer, capacity, length)
		})
		return err
	})
	return text, err
}

// QuantizerInfo is what a quantizer is, with every default filled in.
type QuantizerInfo struct {
	Type QuantType
	// BlockSize is the number of elements per absmax.
	BlockSize   int
	DoubleQuant bool
	// Rule in force; never DefaultRule.
	Rule Rule
	// ComputeDType is bnb_4bit_compute_dtype.
	ComputeDType DType
	// Storage is the dtype that packed bytes are labelled with.
	Storage DType
	// Serializable: what it makes can be saved. Trainable: there are gradients with respect to the
	// input (Transpose). RequiresCalibration: data is needed to quantize, which is never so today.
	Serializable, Trainable, RequiresCalibration bool
	// BitsPerElement of a large weight, absmax values included.
	BitsPerElement float64
}

// Info describes the quantizer.
func (q *Quantizer) Info() (QuantizerInfo, error) {
	c := C.fourbit_quantizer_info{struct_size: C.sizeof_fourbit_quantizer_info}
	err := q.h.with(func(p *C.fourbit_quantizer) error {
		return call(func() C.fourbit_status { return C.fourbit_quantizer_query(p, &c) })
	})
	if err != nil {
		return QuantizerInfo{}, err
	}
	return QuantizerInfo{
		Type: QuantType(c.quant_type), BlockSize: int(c.block_size), DoubleQuant: c.double_quant == 1,
		Rule: Rule(c.rule), ComputeDType: dtypeFrom(c.compute_dtype), Storage: dtypeFrom(c.storage),
		Serializable: c.is_serializable == 1, Trainable: c.is_trainable == 1,
		RequiresCalibration: c.requires_calibration == 1, BitsPerElement: float64(c.bits_per_element),
	}, nil
}

// QuantizedSize is the bytes of a quantized weight's parts other than the quant state's text, known
// before quantizing.
func (q *Quantizer) QuantizedSize(elements uint64) (uint64, error) {
	var out C.uint64_t
	err := q.h.with(func(p *C.fourbit_quantizer) error {
		return call(func() C.fourbit_status { return C.fourbit_quant_sizes(p, C.uint64_t(elements), &out) })
	})
	return uint64(out), err
}

// Close gives the quantizer up.
func (q *Quantizer) Close() error {
	q.h.close()
	return nil
}
