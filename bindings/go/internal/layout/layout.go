// Package layout shows the structs of fourbit.h as Go sees them, for the test that compares them with
// what a C compiler says and with what they have always been.
package layout

// #cgo pkg-config: fourbit
// #include <fourbit/fourbit.h>
import "C"

import "reflect"

// Structs are all of the header's, by name.
var Structs = map[string]reflect.Type{
	"fourbit_device":           reflect.TypeFor[C.struct_fourbit_device](),
	"fourbit_dtype":            reflect.TypeFor[C.struct_fourbit_dtype](),
	"fourbit_tensor":           reflect.TypeFor[C.struct_fourbit_tensor](),
	"fourbit_device_info":      reflect.TypeFor[C.struct_fourbit_device_info](),
	"fourbit_context_config":   reflect.TypeFor[C.struct_fourbit_context_config](),
	"fourbit_quant_config":     reflect.TypeFor[C.struct_fourbit_quant_config](),
	"fourbit_quantizer_info":   reflect.TypeFor[C.struct_fourbit_quantizer_info](),
	"fourbit_weight_info":      reflect.TypeFor[C.struct_fourbit_weight_info](),
	"fourbit_gemm_config":      reflect.TypeFor[C.struct_fourbit_gemm_config](),
	"fourbit_quant_error":      reflect.TypeFor[C.struct_fourbit_quant_error](),
	"fourbit_checkpoint_entry": reflect.TypeFor[C.struct_fourbit_checkpoint_entry](),
	"fourbit_plan_config":      reflect.TypeFor[C.struct_fourbit_plan_config](),
	"fourbit_plan_entry":       reflect.TypeFor[C.struct_fourbit_plan_entry](),
	"fourbit_plan_totals":      reflect.TypeFor[C.struct_fourbit_plan_totals](),
	"fourbit_save_config":      reflect.TypeFor[C.struct_fourbit_save_config](),
	"fourbit_load_config":      reflect.TypeFor[C.struct_fourbit_load_config](),
	"fourbit_model_entry":      reflect.TypeFor[C.struct_fourbit_model_entry](),
	"fourbit_progress":         reflect.TypeFor[C.struct_fourbit_progress](),
}
