package fourbit

// #include <fourbit/fourbit.h>
// #include <stdlib.h>
import "C"

import (
	"runtime"
	"unsafe"
)

// Profile says whose rules decide which modules are converted.
type Profile uint32

// Profiles.
const (
	// ProfilePortable converts what transformers 4.57 and 5.23 both convert: the result loads everywhere.
	ProfilePortable Profile = C.FOURBIT_PLAN_PROFILE_PORTABLE
	// ProfileV4 is transformers 4.57.
	ProfileV4 Profile = C.FOURBIT_PLAN_PROFILE_V4
	// ProfileV5 is transformers 5.23.
	ProfileV5 Profile = C.FOURBIT_PLAN_PROFILE_V5
	// ProfileV441 is transformers 4.41.
	ProfileV441 Profile = C.FOURBIT_PLAN_PROFILE_V441
)

// Experts says what becomes of the per-expert linear layers of a mixture.
type Experts uint32

// Choices.
const (
	// ExpertsAuto does as the profile's version does.
	ExpertsAuto Experts = C.FOURBIT_PLAN_EXPERTS_AUTO
	// ExpertsSixteenBit keeps them in 16 bits.
	ExpertsSixteenBit Experts = C.FOURBIT_PLAN_EXPERTS_SIXTEEN_BIT
	// ExpertsFourBit converts them: transformers 4, vLLM and SGLang read the result, transformers 5 does not.
	ExpertsFourBit Experts = C.FOURBIT_PLAN_EXPERTS_FOUR_BIT
)

// Action is what happens to a tensor.
type Action uint32

// Actions.
const (
	// Keep stores it in DType.
	Keep Action = C.FOURBIT_PLAN_ACTION_KEEP
	// Convert casts it to DType and quantizes it.
	Convert Action = C.FOURBIT_PLAN_ACTION_QUANTIZE
	// ConvertTransposed casts it to DType, transposes it (GPT-2's Conv1D stores [in, out]) and quantizes it.
	ConvertTransposed Action = C.FOURBIT_PLAN_ACTION_QUANTIZE_TRANSPOSED
)

// String is "keep", "quantize" or "quantize transposed".
func (a Action) String() string {
	switch a {
	case Keep:
		return "keep"
	case Convert:
		return "quantize"
	}
	return "quantize transposed"
}

// PlanConfig is how to plan. Its zero value: what loads everywhere, everything automatic.
type PlanConfig struct {
	// Profile is whose rules decide.
	Profile Profile
	// DType is what float tensors are cast to first; the zero value: what config.json says.
	DType DType
	// Experts is what becomes of the experts of a mixture.
	Experts Experts
	// SkipModules are modules to keep; nil: the quantizer's. An empty list is not nil.
	SkipModules []string
	// DeviceMap asks where everything goes: "auto", "balanced_low_0", "sequential", "fit", a device
	// ("0", "cpu"), or a map as JSON, such as {"model": 0, "lm_head": "cpu"}. "": not decided.
	DeviceMap string
	// MaxMemory of each device, such as "0=20GiB,cpu=64GiB"; "": what is free on this machine.
	MaxMemory string
	// Offload lets modules go to the CPU or the disk.
	Offload bool
}

// PlanEntry is one tensor's fate.
type PlanEntry struct {
	Name string
	// Reason says why, in words.
	Reason string
	Action Action
	// SourceDType is the stored element type; DType the one to store, or from which the weight is quantized.
	SourceDType, DType DType
	// Shape as stored.
	Shape []int64
	// BytesBefore and BytesAfter are what it takes in the source and in the output, statistics included.
	BytesBefore, BytesAfter uint64
	// Device is the number of a GPU, "mps", "cpu" or "disk"; "" without a device map.
	Device string
}

// Converted tells whether the tensor becomes 4-bit.
func (e PlanEntry) Converted() bool { return e.Action != Keep }

// PlanTotals sums a plan up.
type PlanTotals struct {
	// Profile is the one followed.
	Profile Profile
	// Converted and Kept are numbers of tensors.
	Converted, Kept uint64
	// BytesBefore and BytesAfter are those of the source and the output, file headers not counted.
	BytesBefore, BytesAfter uint64
}

// Plan is what happens to every tensor of a checkpoint, and why. Any number of goroutines may use one.
type Plan struct{ h *handle[*C.fourbit_plan] }

// Plan decides what happens to every tensor of a checkpoint, which needs a config.json.
func (q *Quantizer) Plan(source *Checkpoint, config PlanConfig) (*Plan, error) {
	var pinner runtime.Pinner
	defer pinner.Unpin()
	names := cStrings(config.SkipModules, &pinner)
	defer names.free()
	c := C.fourbit_plan_config{
		struct_size: C.sizeof_fourbit_plan_config, profile: C.uint32_t(config.Profile),
		dtype: config.DType.c(), experts: C.uint32_t(config.Experts),
		skip_modules: names.pointer(), skip_module_count: C.size_t(len(config.SkipModules)),
		device_map: cStringOrNull(config.DeviceMap), max_memory: cStringOrNull(config.MaxMemory),
		offload: c01(config.Offload),
	}
	defer C.free(unsafe.Pointer(c.device_map))
	defer C.free(unsafe.Pointer(c.max_memory))
	return newPlan(func(out **C.fourbit_plan) error {
		return q.h.with(func(p *C.fourbit_quantizer) error {
			return source.h.with(func(k *C.fourbit_checkpoint) error {
				return call(func() C.fourbit_status { return C.fourbit_plan_create(p, k, &c, out) })
			})
		})
	})
}

// PlanFromJSON reads what JSON wrote, perhaps edited in between.
func PlanFromJSON(json []byte) (*Plan, error) {
	return newPlan(func(out **C.fourbit_plan) error {
		return call(func() C.fourbit_status {
			return C.fourbit_plan_from_json(inText(json), C.size_t(len(json)), out)
		})
	})
}

func newPlan(create func(out **C.fourbit_plan) error) (*Plan, error) {
	var out *C.fourbit_plan
	if err := create(&out); err != nil {
		return nil, err
	}
	return &Plan{own(out, func(p *C.fourbit_plan) { C.fourbit_plan_destroy(p) }, nil)}, nil
}

// JSON writes the plan for people and programs to read, and to edit.
func (p *Plan) JSON() (text []byte, err error) {
	err = p.h.with(func(c *C.fourbit_plan) (err error) {
		text, err = readText(func(buffer *C.char, capacity C.size_t, length *C.size_t) C.fourbit_status {
			return C.fourbit_plan_to_json(c, buffer, capacity, length)
		})
		return err
	})
	return text, err
}

// Entries lists all tensors.
func (p *Plan) Entries() (entries []PlanEntry, err error) {
	err = p.h.with(func(c *C.fourbit_plan) error {
		var count C.size_t
		if err := call(func() C.fourbit_status { return C.fourbit_plan_len(c, &count) }); err != nil {
			return err
		}
		entries = make([]PlanEntry, count)
		for i := range entries {
			if entries[i], err = planEntry(c, C.size_t(i)); err != nil {
				return err
			}
		}
		return nil
	})
	return entries, err
}

// Entry finds a tensor by name; NotFound if there is none.
func (p *Plan) Entry(name string) (entry PlanEntry, err error) {
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	err = p.h.with(func(c *C.fourbit_plan) (err error) {
		var index C.size_t
		if err := call(func() C.fourbit_status { return C.fourbit_plan_find(c, text, &index) }); err != nil {
			return err
		}
		entry, err = planEntry(c, index)
		return err
	})
	return entry, err
}

func planEntry(p *C.fourbit_plan, index C.size_t) (PlanEntry, error) {
	c := C.fourbit_plan_entry{struct_size: C.sizeof_fourbit_plan_entry}
	if err := call(func() C.fourbit_status { return C.fourbit_plan_get(p, index, &c) }); err != nil {
		return PlanEntry{}, err
	}
	return PlanEntry{
		Name: C.GoString(c.name), Reason: C.GoString(c.reason), Action: Action(c.action),
		SourceDType: dtypeFrom(c.source_dtype), DType: dtypeFrom(c.dtype),
		Shape: intsFrom(&c.shape[0], c.ndim), Device: C.GoString(c.device),
		BytesBefore: uint64(c.bytes_before), BytesAfter: uint64(c.bytes_after),
	}, nil
}

// Totals sums the plan up.
func (p *Plan) Totals() (PlanTotals, error) {
	c := C.fourbit_plan_totals{struct_size: C.sizeof_fourbit_plan_totals}
	err := p.h.with(func(p *C.fourbit_plan) error {
		return call(func() C.fourbit_status { return C.fourbit_plan_summary(p, &c) })
	})
	if err != nil {
		return PlanTotals{}, err
	}
	return PlanTotals{
		Profile: Profile(c.profile), Converted: uint64(c.converted), Kept: uint64(c.kept),
		BytesBefore: uint64(c.bytes_before), BytesAfter: uint64(c.bytes_after),
	}, nil
}

// Close gives the plan up.
func (p *Plan) Close() error {
	p.h.close()
	return nil
}
