//go:build fourbit_collect

package fourbit

import "runtime"

// Collects between taking an object from its handle, or the address of a slice, and using it in C: what
// nothing keeps alive is gone by then, and the tests notice. Twice, because the first collection only
// queues the cleanups of what it found.
func collectIfDebugging() {
	runtime.GC()
	runtime.GC()
}
