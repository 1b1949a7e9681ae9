package fourbit

import (
	"runtime"
	"sync/atomic"
)

// closedBit is set in a handle's state once it is closed; the other bits count the calls at work.
const closedBit = 1 << 62

// handle owns one C object; P is its C pointer type (a pointer, because cgo's opaque structs are
// incomplete and cannot be type arguments). It counts the calls that are using the object, so that
// Close never pulls it from under one: the last of them destroys it.
type handle[P comparable] struct {
	object  P
	destroy func(P)
	state   atomic.Int64
	cleanup runtime.Cleanup
	// loop runs the object's tasks, if the context it was made from has one.
	loop *loop
}

// own makes the handle of an object. What is never closed is destroyed when the collector finds it.
func own[P comparable](object P, destroy func(P), on *loop) *handle[P] {
	h := &handle[P]{object: object, destroy: destroy, loop: on}
	h.cleanup = runtime.AddCleanup(h, destroy, object)
	return h
}

// with lends the object to f.
func (h *handle[P]) with(f func(P) error) error {
	if err := h.acquire(); err != nil {
		return err
	}
	defer h.release()
	if h.loop != nil {
		return h.loop.watch(func() error { return f(h.object) })
	}
	return f(h.object)
}

// acquire keeps the object from being destroyed until release.
func (h *handle[P]) acquire() error {
	if h == nil {
		return ErrClosed
	}
	for {
		state := h.state.Load()
		if state&closedBit != 0 {
			return ErrClosed
		}
		if h.state.CompareAndSwap(state, state+1) {
			return nil
		}
	}
}

func (h *handle[P]) release() {
	if h.state.Add(-1) == closedBit {
		h.destroyNow()
	}
}

// close is what Close does. It may be called more than once, and from a method's callback.
func (h *handle[P]) close() {
	if h != nil && h.state.Or(closedBit) == 0 {
		h.destroyNow()
	}
}

// destroyNow is reached once: by whoever sees the handle closed and without users first.
func (h *handle[P]) destroyNow() {
	h.cleanup.Stop()
	h.destroy(h.object)
}
