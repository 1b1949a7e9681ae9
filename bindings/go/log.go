package fourbit

// #include "callbacks.h"
import "C"

import (
	"runtime/cgo"
	"sync"
)

// LogLevel is how important a message is; a lower number is more important.
type LogLevel uint32

// Levels.
const (
	// LogOff is for nothing at all.
	LogOff LogLevel = C.FOURBIT_LOG_LEVEL_OFF
	// LogWarning: something is likely not as the caller wishes.
	LogWarning LogLevel = C.FOURBIT_LOG_LEVEL_WARNING
	// LogInfo: choices made once, such as the instruction set and the number of threads.
	LogInfo LogLevel = C.FOURBIT_LOG_LEVEL_INFO
	// LogDebug: steps of long operations.
	LogDebug LogLevel = C.FOURBIT_LOG_LEVEL_DEBUG
)

// String is the level's name.
func (l LogLevel) String() string {
	switch l {
	case LogOff:
		return "off"
	case LogWarning:
		return "warning"
	case LogInfo:
		return "info"
	default:
		return "debug"
	}
}

// logging is the sink in use.
var logging struct {
	sync.Mutex
	sink cgo.Handle
}

// SetLog sends the library's messages up to a level to sink, for the whole process; a nil sink turns
// them off. When it returns, the sink before it is not running and will not run again.
//
// The sink may be called from several threads at once. It must not call this package; a panic in it is
// dropped.
func SetLog(level LogLevel, sink func(level LogLevel, text string)) error {
	logging.Lock()
	defer logging.Unlock()
	var next cgo.Handle
	if sink != nil {
		next = cgo.NewHandle(sink)
	}
	previous := logging.sink
	err := call(func() C.fourbit_status { return C.fourbit_go_set_log(C.uintptr_t(next), C.uint32_t(level)) })
	if err != nil {
		previous = next
	} else {
		logging.sink = next
	}
	if previous != 0 {
		previous.Delete()
	}
	return err
}

//export fourbitGoLog
func fourbitGoLog(user C.uintptr_t, level C.uint32_t, text *C.char) {
	// There is nobody to tell: the library goes on whatever becomes of its messages.
	defer func() { _ = recover() }()
	cgo.Handle(user).Value().(func(LogLevel, string))(LogLevel(level), C.GoString(text))
}
