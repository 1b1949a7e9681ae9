package fourbit

// #include <fourbit/fourbit.h>
import "C"

// ISA is an instruction set of a CPU.
type ISA uint32

// Instruction sets, oldest first within a kind of processor.
const (
	BestISA    ISA = C.FOURBIT_CPU_ISA_BEST
	Portable   ISA = C.FOURBIT_CPU_ISA_PORTABLE
	AVX2       ISA = C.FOURBIT_CPU_ISA_AVX2
	AVX512     ISA = C.FOURBIT_CPU_ISA_AVX512
	AVX512BF16 ISA = C.FOURBIT_CPU_ISA_AVX512_BF16
	AMX        ISA = C.FOURBIT_CPU_ISA_AMX
	NEON       ISA = C.FOURBIT_CPU_ISA_NEON
)

// ContextConfig is how a context is made. Its zero value is a good choice.
type ContextConfig struct {
	// Threads that work on a call, the caller's included; 0: one per processor.
	Threads int
	// MaxISA is the best instruction set to use.
	MaxISA ISA
}

// Context is one device and the threads that serve it.
type Context struct{ h *handle[*C.fourbit_context] }

// NewContext makes a context on the CPU.
func NewContext(config ContextConfig) (*Context, error) {
	c := C.fourbit_context_config{
		struct_size: C.sizeof_fourbit_context_config,
		num_threads: C.uint32_t(config.Threads),
		cpu_isa_max: C.uint32_t(config.MaxISA),
	}
	var out *C.fourbit_context
	if err := call(func() C.fourbit_status { return C.fourbit_context_create(&c, &out) }); err != nil {
		return nil, err
	}
	return &Context{own(out, func(p *C.fourbit_context) { C.fourbit_context_destroy(p) })}, nil
}

// Threads is the number of threads that work on a call.
func (c *Context) Threads() (int, error) {
	var out C.uint32_t
	err := c.h.with(func(p *C.fourbit_context) error {
		return call(func() C.fourbit_status { return C.fourbit_context_query(p, nil, &out) })
	})
	return int(out), err
}

// Close gives the context up. What was made from it stays valid.
func (c *Context) Close() error {
	c.h.close()
	return nil
}
