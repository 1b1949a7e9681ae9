// Package fourbit reads, makes and multiplies by 4-bit weights (NF4, FP4) as transformers and
// bitsandbytes write and read them.
//
//	ctx, err := fourbit.NewContext(fourbit.ContextConfig{})
//	quantizer, err := ctx.NewQuantizer(fourbit.QuantConfig{DoubleQuant: true})
//	weight, err := quantizer.Quantize(fourbit.Float32s(w, n, k))
//	err = ctx.Gemm(fourbit.Float32s(x, m, k), weight, fourbit.Float32s(y, m, n))
//
// # Ownership
//
// Contexts, quantizers, weights, checkpoints, plans and writers hold memory that Go's collector does not
// see: Close them. (What is forgotten is freed when the collector finds it.) They may be closed in any
// order, and more than once: objects keep alive what they use. Methods of what is closed return ErrClosed.
//
// Slices are lent to the library for the length of a call and not copied. What the library lends, such as
// the tensors of a checkpoint, is lent to a function, and must not be kept beyond its return.
//
// # Goroutines
//
// Any number of goroutines may use one object at once; a call that races with Close either works or fails
// with ErrClosed. (A Writer takes one call at a time, and makes the others wait.)
//
// # Errors
//
// Failures are *Error, with a Status and words that name the file, tensor, field and value at fault.
// A Status is an error itself: errors.Is(err, fourbit.NotFound). What Go has a name for answers to it
// too: fs.ErrNotExist, context.Canceled.
//
// # Linking
//
// The package links libfourbit through pkg-config, or, with the build tag fourbit_static, the static
// library.
package fourbit

// #include <fourbit/fourbit.h>
import "C"

import "fmt"

// ABIVersion is the number of the binary interface this package was compiled against.
const ABIVersion = C.FOURBIT_ABI_VERSION

// HeaderVersion is the version of the header this package was compiled against, as Version gives that
// of the library.
const HeaderVersion = C.FOURBIT_VERSION_MAJOR*10000 + C.FOURBIT_VERSION_MINOR*100 + C.FOURBIT_VERSION_PATCH

// MaxRank is the largest rank of a tensor.
const MaxRank = C.FOURBIT_MAX_RANK

// Version is the version of the library that is running, as major * 10000 + minor * 100 + patch.
func Version() uint32 { return uint32(C.fourbit_version()) }

// VersionString is Version in the form "0.1.0".
func VersionString() string {
	v := Version()
	return fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100)
}

// LoadedABIVersion is the number of the binary interface of the library that is running.
func LoadedABIVersion() uint32 { return uint32(C.fourbit_abi_version()) }

// BuildInfo is one line: version, backends built in, best instruction set of this machine.
func BuildInfo() string { return C.GoString(C.fourbit_build_info()) }
