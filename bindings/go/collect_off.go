//go:build !fourbit_collect

package fourbit

func collectIfDebugging() {}
