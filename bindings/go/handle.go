package fourbit

import (
	"runtime"
	"sync"
)

// handle owns one C object; P is its C pointer type (a pointer, because cgo's opaque structs are
// incomplete and cannot be type arguments). It counts the calls that are using the object, so that
// Close never pulls it from under one: the last of them destroys it.
type handle[P comparable] struct {
	mu      sync.Mutex
	object  P
	destroy func(P)
	users   int
	closed  bool
	cleanup runtime.Cleanup
}

// own makes the handle of an object. What is never closed is destroyed when the collector finds it.
func own[P comparable](object P, destroy func(P)) *handle[P] {
	h := &handle[P]{object: object, destroy: destroy}
	h.cleanup = runtime.AddCleanup(h, destroy, object)
	return h
}

// with lends the object to f.
func (h *handle[P]) with(f func(P) error) error {
	if err := h.acquire(); err != nil {
		return err
	}
	defer h.release()
	collectIfDebugging()
	return f(h.object)
}

func (h *handle[P]) acquire() error {
	if h == nil {
		return ErrClosed
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	h.users++
	return nil
}

func (h *handle[P]) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.users--
	h.destroyIfUnused()
}

// close is what Close does. It may be called more than once, and from a method's callback.
func (h *handle[P]) close() {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		h.destroyIfUnused()
	}
}

func (h *handle[P]) destroyIfUnused() {
	if h.closed && h.users == 0 {
		h.cleanup.Stop()
		h.destroy(h.object)
	}
}
