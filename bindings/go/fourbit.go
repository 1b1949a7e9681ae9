// Package fourbit reads, makes and multiplies by 4-bit weights (NF4, FP4) as transformers and
// bitsandbytes write and read them.
//
//	ctx, err := fourbit.NewContext(fourbit.ContextConfig{})
//	quantizer, err := ctx.NewQuantizer(fourbit.QuantConfig{DoubleQuant: true})
//	weight, err := quantizer.Quantize(fourbit.Float32s(w, n, k))
//	err = ctx.Gemm(fourbit.Float32s(x, m, k), weight, fourbit.Float32s(y, m, n))
//
// Contexts, quantizers, weights and checkpoints hold memory that Go's collector does not see: Close
// them. (What is forgotten is freed when the collector finds it.) Any number of goroutines may use
// one at once; a call that races with Close either works or fails with ErrClosed.
//
// Slices are lent to the library for the length of a call and not copied.
//
// The package links libfourbit through pkg-config, or, with the build tag fourbit_static, the static
// library.
package fourbit

// #include <fourbit/fourbit.h>
import "C"

// ABIVersion is the number of the binary interface this package was compiled against.
const ABIVersion = C.FOURBIT_ABI_VERSION

// Version is the version of the library that is running, as major * 10000 + minor * 100 + patch.
func Version() uint32 { return uint32(C.fourbit_version()) }

// LoadedABIVersion is the number of the binary interface of the library that is running.
func LoadedABIVersion() uint32 { return uint32(C.fourbit_abi_version()) }

// BuildInfo is one line: version, backends built in, best instruction set of this machine.
func BuildInfo() string { return C.GoString(C.fourbit_build_info()) }
