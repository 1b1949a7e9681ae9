package fourbit

// #include <fourbit/fourbit.h>
//
// // dlpack.h 1.0, spelled out: fourbit.h only declares it.
// typedef struct fourbit_go_dlpack {
//     uint32_t major, minor;
//     void *manager_ctx;
//     void (*deleter)(struct fourbit_go_dlpack *self);
//     uint64_t flags;
//     fourbit_tensor tensor;
// } fourbit_go_dlpack;
//
// static void fourbit_go_dlpack_delete(fourbit_go_dlpack *managed) {
//     if (managed->deleter) {
//         managed->deleter(managed);
//     }
// }
// static fourbit_status fourbit_go_weight_to_dlpack(const fourbit_weight *weight, uint32_t part,
//                                                   fourbit_go_dlpack **out) {
//     return fourbit_weight_to_dlpack(weight, part, (struct DLManagedTensorVersioned **)out);
// }
import "C"

import (
	"fmt"
	"unsafe"
)

const dlpackReadOnly = 1

// DLPack is a tensor exchanged with another library: a DLManagedTensorVersioned of DLPack 1.x. It keeps
// its elements alive by itself.
type DLPack struct {
	h *handle[*C.fourbit_go_dlpack]
}

// DLPack gives part index of the weight (in the order of Parts; 0: the packed codes), read-only and
// without a copy. It outlives the weight.
func (w *Weight) DLPack(index int) (*DLPack, error) {
	var out *C.fourbit_go_dlpack
	err := w.h.with(func(p *C.fourbit_weight) error {
		return call(func() C.fourbit_status { return C.fourbit_go_weight_to_dlpack(p, C.uint32_t(index), &out) })
	})
	if err != nil {
		return nil, err
	}
	return ownDLPack(out), nil
}

// TakeDLPack takes a *DLManagedTensorVersioned over from another library; Close calls its deleter. On an
// error it remains the caller's.
func TakeDLPack(managed unsafe.Pointer) (*DLPack, error) {
	if managed == nil {
		return nil, &Error{InvalidArgument, "the DLManagedTensorVersioned is NULL"}
	}
	c := (*C.fourbit_go_dlpack)(managed)
	if c.major != 1 {
		return nil, &Error{Unsupported, fmt.Sprintf("DLPack %d.%d: 1.x is known here", c.major, c.minor)}
	}
	if c.tensor.ndim < 0 || c.tensor.ndim > MaxRank || c.tensor.dtype.lanes != 1 {
		return nil, &Error{Unsupported, fmt.Sprintf("a DLPack tensor of rank %d with %d lanes per element: "+
			"rank 0 to %d and 1 lane are accepted", c.tensor.ndim, c.tensor.dtype.lanes, MaxRank)}
	}
	return ownDLPack(c), nil
}

func ownDLPack(c *C.fourbit_go_dlpack) *DLPack {
	return &DLPack{own(c, func(p *C.fourbit_go_dlpack) { C.fourbit_go_dlpack_delete(p) }, nil)}
}

// Tensor lends the elements to visit, as long as it runs. They must not be changed if they are ReadOnly.
func (d *DLPack) Tensor(visit func(Tensor) error) error {
	return d.h.with(func(p *C.fourbit_go_dlpack) error {
		t := lent(&p.tensor)
		if p.tensor.strides != nil {
			t.stride = intsFrom(p.tensor.strides, p.tensor.ndim)
		}
		return visit(t)
	})
}

// ReadOnly tells whether the elements may not be changed.
func (d *DLPack) ReadOnly() (readOnly bool, err error) {
	err = d.h.with(func(p *C.fourbit_go_dlpack) error {
		readOnly = p.flags&dlpackReadOnly != 0
		return nil
	})
	return readOnly, err
}

// Release hands the *DLManagedTensorVersioned to another library, which then owns it and calls its
// deleter; the DLPack is closed. InvalidState if it is in use.
func (d *DLPack) Release() (unsafe.Pointer, error) {
	if !d.h.state.CompareAndSwap(0, closedBit) {
		if d.h.state.Load()&closedBit != 0 {
			return nil, ErrClosed
		}
		return nil, &Error{InvalidState, "the DLPack tensor is in use"}
	}
	d.h.cleanup.Stop()
	return unsafe.Pointer(d.h.object), nil
}

// Close gives the tensor up.
func (d *DLPack) Close() error {
	d.h.close()
	return nil
}
