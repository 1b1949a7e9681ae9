//go:build !fourbit_static

package fourbit

// #cgo pkg-config: fourbit
import "C"
