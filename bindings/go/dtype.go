package fourbit

// #include <fourbit/fourbit.h>
import "C"

import "fmt"

// DType is an element type. Its zero value means "the default" where a configuration asks for one.
type DType struct {
	code, bits uint8
}

// Element types. Weights are quantized from, and activations are, Float32, Float16 or BFloat16; the others
// are those of statistics and of what else a checkpoint may hold.
var (
	Float32  = DType{C.FOURBIT_DTYPE_CODE_FLOAT, 32}
	Float16  = DType{C.FOURBIT_DTYPE_CODE_FLOAT, 16}
	BFloat16 = DType{C.FOURBIT_DTYPE_CODE_BFLOAT, 16}
	Uint8    = DType{C.FOURBIT_DTYPE_CODE_UINT, 8}
	Int8     = DType{C.FOURBIT_DTYPE_CODE_INT, 8}
	Int16    = DType{C.FOURBIT_DTYPE_CODE_INT, 16}
	Int32    = DType{C.FOURBIT_DTYPE_CODE_INT, 32}
	Int64    = DType{C.FOURBIT_DTYPE_CODE_INT, 64}
	Float64  = DType{C.FOURBIT_DTYPE_CODE_FLOAT, 64}
	Bool     = DType{C.FOURBIT_DTYPE_CODE_BOOL, 8}

	Float8E4M3FN = DType{C.FOURBIT_DTYPE_CODE_FLOAT8_E4M3FN, 8}
	Float8E5M2   = DType{C.FOURBIT_DTYPE_CODE_FLOAT8_E5M2, 8}
)

// Size is the number of bytes of an element.
func (d DType) Size() int { return int(d.bits) / 8 }

// String is the name that PyTorch has for it, such as "bfloat16".
func (d DType) String() string {
	switch d.code {
	case C.FOURBIT_DTYPE_CODE_INT:
		return fmt.Sprintf("int%d", d.bits)
	case C.FOURBIT_DTYPE_CODE_UINT:
		return fmt.Sprintf("uint%d", d.bits)
	case C.FOURBIT_DTYPE_CODE_FLOAT:
		return fmt.Sprintf("float%d", d.bits)
	case C.FOURBIT_DTYPE_CODE_BFLOAT:
		return fmt.Sprintf("bfloat%d", d.bits)
	case C.FOURBIT_DTYPE_CODE_BOOL:
		return "bool"
	case C.FOURBIT_DTYPE_CODE_FLOAT8_E4M3FN:
		return "float8_e4m3fn"
	case C.FOURBIT_DTYPE_CODE_FLOAT8_E5M2:
		return "float8_e5m2"
	}
	return fmt.Sprintf("dtype(%d, %d bits)", d.code, d.bits)
}

func (d DType) c() C.fourbit_dtype {
	if d == (DType{}) {
		return C.fourbit_dtype{}
	}
	return C.fourbit_dtype{code: C.uint8_t(d.code), bits: C.uint8_t(d.bits), lanes: 1}
}

func dtypeFrom(c C.fourbit_dtype) DType { return DType{uint8(c.code), uint8(c.bits)} }
