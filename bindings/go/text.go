package fourbit

// #include <fourbit/fourbit.h>
// #include <stdlib.h>
import "C"

import (
	"runtime"
	"unsafe"
)

// readText collects text of unknown length.
func readText(write func(buffer *C.char, capacity C.size_t, length *C.size_t) C.fourbit_status) ([]byte, error) {
	var length C.size_t
	if err := call(func() C.fourbit_status { return write(nil, 0, &length) }); err != nil {
		return nil, err
	}
	buffer := make([]byte, length+1)
	c := (*C.char)(unsafe.Pointer(&buffer[0]))
	err := call(func() C.fourbit_status { return write(c, C.size_t(len(buffer)), &length) })
	return buffer[:length], err
}

// cStringList is a list of strings in C's form. A nil list is NULL, an empty one is not.
type cStringList []*C.char

func cStrings(list []string, pinner *runtime.Pinner) cStringList {
	if list == nil {
		return nil
	}
	c := make(cStringList, len(list)+1)
	for i, text := range list {
		c[i] = C.CString(text)
	}
	pinner.Pin(&c[0])
	return c
}

func (l cStringList) pointer() **C.char {
	if l == nil {
		return nil
	}
	return &l[0]
}

func (l cStringList) free() {
	for _, text := range l {
		C.free(unsafe.Pointer(text))
	}
}

// cStringOrNull copies a string to C, "" to NULL.
func cStringOrNull(text string) *C.char {
	if text == "" {
		return nil
	}
	return C.CString(text)
}

// inText is a text that C reads with its length; it never ends up as NULL.
func inText(text []byte) *C.char {
	if len(text) == 0 {
		text = []byte{0}
	}
	return (*C.char)(unsafe.Pointer(unsafe.SliceData(text)))
}

// c01 is a bool as C's configurations have it.
func c01(value bool) C.uint32_t {
	if value {
		return 1
	}
	return 0
}
