//go:build fourbit_static

package fourbit

// #cgo CFLAGS: -DFOURBIT_STATIC
// #cgo pkg-config: fourbit-static
import "C"
