package fourbit

// #include <fourbit/fourbit.h>
// #include <stdlib.h>
import "C"

import (
	"runtime"
	"unsafe"
)

// Part is one of the tensors that bitsandbytes stores a weight as.
type Part struct {
	// Name is "" (the packed codes), "absmax", "quant_map", "nested_absmax", "nested_quant_map" or
	// "quant_state.bitsandbytes__nf4" (or __fp4). In a checkpoint it follows the weight's name and a dot.
	Name string
	// Tensor is its contents.
	Tensor Tensor
}

// Parts calls visit for each part, until it returns an error. The tensors are lent for the length of
// that call and must not be changed.
func (w *Weight) Parts(visit func(Part) error) error {
	return w.h.with(func(p *C.fourbit_weight) error {
		var count C.size_t
		if err := call(func() C.fourbit_status { return C.fourbit_weight_part_count(p, &count) }); err != nil {
			return err
		}
		for i := range count {
			var name *C.char
			var c C.fourbit_tensor
			if err := call(func() C.fourbit_status { return C.fourbit_weight_part(p, i, &name, &c) }); err != nil {
				return err
			}
			if err := visit(Part{C.GoString(name), lent(&c)}); err != nil {
				return err
			}
		}
		return nil
	})
}

// WeightFromParts builds a weight from its parts, in any order, under the names Parts gives or under
// full tensor names. The bytes are copied, and checked against the quant state.
func (c *Context) WeightFromParts(parts []Part) (w *Weight, err error) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	list := make([]string, len(parts))
	tensors := make([]C.fourbit_tensor, len(parts)+1)
	for i, part := range parts {
		list[i] = part.Name
		t, err := part.Tensor.pinned(&pinner)
		if err != nil {
			return nil, err
		}
		tensors[i] = *t
	}
	names := cStrings(list, &pinner)
	defer names.free()
	err = c.h.with(func(p *C.fourbit_context) (err error) {
		w, err = newWeight(func(out **C.fourbit_weight) C.fourbit_status {
			first := (*C.fourbit_tensor)(unsafe.Pointer(&tensors[0]))
			return C.fourbit_weight_from_parts(p, names.pointer(), first, C.size_t(len(parts)), out)
		})
		return err
	})
	return w, err
}
