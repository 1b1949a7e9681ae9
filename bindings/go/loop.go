package fourbit

// #include "callbacks.h"
import "C"

import (
	"runtime"
	"runtime/cgo"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Loop runs the tasks of one operation: it calls task(i) once for every i below count, in any order, on
// any goroutines, and returns when all have returned. Tasks do not panic.
//
// The library does not rely on its manners: a task asked for twice runs once, and those left out when
// the loop returns, or panics, are run then. A panic comes out of the method that was called.
type Loop func(count int, task func(i int))

// loop keeps a Loop within the reach of C for as long as anything that may call it is reachable.
type loop struct{ handle cgo.Handle }

func newLoop(run Loop) *loop {
	l := &loop{cgo.NewHandle(run)}
	runtime.AddCleanup(l, func(h cgo.Handle) { h.Delete() }, l.handle)
	return l
}

// c is what C knows the loop by; 0 for none.
func (l *loop) c() C.uintptr_t {
	if l == nil {
		return 0
	}
	return C.uintptr_t(l.handle)
}

// watch calls f, which may run the loop, and then goes on with what the loop panicked with. The library
// calls the loop on the thread that called the library, so that is where the panic is found.
func (l *loop) watch(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := f()
	runtime.KeepAlive(l)
	if h := cgo.Handle(C.fourbit_go_take_panic()); h != 0 {
		value := h.Value()
		h.Delete()
		panic(value)
	}
	return err
}

//export fourbitGoParallelFor
func fourbitGoParallelFor(user C.uintptr_t, count C.size_t, task, data unsafe.Pointer) {
	started := make([]atomic.Bool, count)
	var running sync.WaitGroup
	running.Add(len(started))
	run := func(i int) {
		if started[i].CompareAndSwap(false, true) {
			C.fourbit_go_run_task(task, data, C.size_t(i))
			running.Done()
		}
	}
	// C goes on only when every task has run, whatever became of the loop.
	defer func() {
		if value := recover(); value != nil {
			if earlier := cgo.Handle(C.fourbit_go_take_panic()); earlier != 0 {
				earlier.Delete()
			}
			C.fourbit_go_set_panic(C.uintptr_t(cgo.NewHandle(value)))
		}
		for i := range started {
			run(i)
		}
		running.Wait()
	}()
	cgo.Handle(user).Value().(Loop)(len(started), run)
}
