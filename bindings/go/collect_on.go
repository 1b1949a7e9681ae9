//go:build fourbit_collect

package fourbit

import "runtime"

// Collects between taking an object from its handle and using it, so that one kept alive by nothing
// is gone by then, and the tests notice.
func collectIfDebugging() { runtime.GC() }
