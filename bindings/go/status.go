package fourbit

// #include <fourbit/fourbit.h>
import "C"

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
)

// Status says what kind of failure an Error is. It is an error itself, so
// errors.Is(err, fourbit.NotFound) works.
type Status int32

// What can happen. New ones may appear.
const (
	InvalidArgument   Status = C.FOURBIT_STATUS_INVALID_ARGUMENT
	InvalidHandle     Status = C.FOURBIT_STATUS_INVALID_HANDLE
	ShapeMismatch     Status = C.FOURBIT_STATUS_SHAPE_MISMATCH
	DTypeUnsupported  Status = C.FOURBIT_STATUS_DTYPE_UNSUPPORTED
	DeviceMismatch    Status = C.FOURBIT_STATUS_DEVICE_MISMATCH
	DeviceUnavailable Status = C.FOURBIT_STATUS_DEVICE_UNAVAILABLE
	DeviceError       Status = C.FOURBIT_STATUS_DEVICE_ERROR
	OutOfMemory       Status = C.FOURBIT_STATUS_OUT_OF_MEMORY
	IO                Status = C.FOURBIT_STATUS_IO
	Format            Status = C.FOURBIT_STATUS_FORMAT
	NotFound          Status = C.FOURBIT_STATUS_NOT_FOUND
	BufferTooSmall    Status = C.FOURBIT_STATUS_BUFFER_TOO_SMALL
	Unsupported       Status = C.FOURBIT_STATUS_UNSUPPORTED
	InvalidState      Status = C.FOURBIT_STATUS_INVALID_STATE
	Cancelled         Status = C.FOURBIT_STATUS_CANCELLED
	Panic             Status = C.FOURBIT_STATUS_PANIC
)

// Error is the status's name.
func (s Status) Error() string { return "fourbit: " + C.GoString(C.fourbit_status_name(C.int32_t(s))) }

// Error is a failed call.
type Error struct {
	// Status is the kind of failure.
	Status Status
	// Message names the file, tensor, field and value at fault.
	Message string
}

// Error is the message.
func (e *Error) Error() string { return "fourbit: " + e.Message }

// Unwrap gives the status.
func (e *Error) Unwrap() error { return e.Status }

// Is lets NotFound pass for fs.ErrNotExist and Cancelled for context.Canceled.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Status == NotFound
	case context.Canceled:
		return e.Status == Cancelled
	}
	return false
}

// ErrClosed is returned by methods of what has been closed.
var ErrClosed = errors.New("fourbit: closed")

// call makes one C call and reads its words on the same thread of the operating system: they are
// kept per thread, and a goroutine may move between the two. Every call that can fail goes through
// here, with handles acquired and memory pinned.
func call(f func() C.fourbit_status) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	collectIfDebugging()
	if status := f(); status != C.FOURBIT_STATUS_OK {
		return &Error{Status(status), C.GoString(C.fourbit_last_error())}
	}
	return nil
}
