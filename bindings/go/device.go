package fourbit

// #include <fourbit/fourbit.h>
import "C"

import "fmt"

// DeviceKind is a kind of memory; the numbers are DLPack's.
type DeviceKind int32

// Kinds of devices.
const (
	CPU      DeviceKind = C.FOURBIT_DEVICE_KIND_CPU
	CUDA     DeviceKind = C.FOURBIT_DEVICE_KIND_CUDA
	CUDAHost DeviceKind = C.FOURBIT_DEVICE_KIND_CUDA_HOST
)

// Device is where memory lives. Its zero value is the CPU.
type Device struct {
	Kind DeviceKind
	// Index is the ordinal; 0 for the CPU.
	Index int
}

// String is "cpu", "cuda:0" and so on.
func (d Device) String() string {
	switch d.Kind {
	case 0, CPU:
		return "cpu"
	case CUDA:
		return fmt.Sprintf("cuda:%d", d.Index)
	case CUDAHost:
		return "cuda_host"
	}
	return fmt.Sprintf("device(%d):%d", d.Kind, d.Index)
}

func (d Device) c() C.fourbit_device {
	return C.fourbit_device{kind: C.int32_t(d.Kind), index: C.int32_t(d.Index)}
}

func deviceFrom(c C.fourbit_device) Device { return Device{DeviceKind(c.kind), int(c.index)} }

// DeviceInfo is what a device is.
type DeviceInfo struct {
	// Name is for people.
	Name string
	// Processors that the process may use, or multiprocessors.
	Processors int
	// MemoryTotal and MemoryAvailable are bytes, the latter as of now.
	MemoryTotal, MemoryAvailable uint64
}

// DeviceCount is the number of devices of a kind; 0 where there is no driver.
func DeviceCount(kind DeviceKind) (int, error) {
	var out C.uint32_t
	err := call(func() C.fourbit_status { return C.fourbit_device_count(C.int32_t(kind), &out) })
	return int(out), err
}

// Info describes a device.
func (d Device) Info() (DeviceInfo, error) {
	c := C.fourbit_device_info{struct_size: C.sizeof_fourbit_device_info}
	if err := call(func() C.fourbit_status { return C.fourbit_device_query(d.c(), &c) }); err != nil {
		return DeviceInfo{}, err
	}
	return DeviceInfo{
		Name: C.GoString(&c.name[0]), Processors: int(c.processors),
		MemoryTotal: uint64(c.memory_total), MemoryAvailable: uint64(c.memory_available),
	}, nil
}

// CPUHas tells whether an instruction set is in use on this machine, after FOURBIT_CPU_ISA_MAX in the
// environment took its part away.
func CPUHas(isa ISA) bool { return isa < 32 && uint32(C.fourbit_cpu_features())>>isa&1 == 1 }
