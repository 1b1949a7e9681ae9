package fourbit

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
)

// OpenCheckpointFS opens a checkpoint by its name in a file system, "." being the root. Its files are
// mapped, so they must lie on a disk: os.DirFS and os.Root.FS will do, an embed.FS or an archive gives
// Unsupported.
func OpenCheckpointFS(fsys fs.FS, name string) (*Checkpoint, error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	onDisk, ok := file.(*os.File)
	if !ok {
		return nil, &Error{Unsupported, fmt.Sprintf("%s in a %T: checkpoints are mapped, so their files must lie on a disk (os.DirFS)", name, fsys)}
	}
	return OpenCheckpoint(onDisk.Name())
}

// LoadWeights opens weights of a checkpoint on a context, by name; without names, all that are quantized.
// On the CPU they stay mapped, on another device they are copied there. A context.Context that is done
// stops the work between two weights; then, and on any other failure, those already open are closed.
func (k *Checkpoint) LoadWeights(ctx context.Context, on *Context, names ...string) (map[string]*Weight, error) {
	if len(names) == 0 {
		entries, err := k.Entries()
		if err != nil {
			return nil, err
		}
		for _, entry := range entries {
			if entry.Quantized {
				names = append(names, entry.Name)
			}
		}
	}
	loaded := make([]*Weight, len(names))
	err := each(ctx, len(names), func(i int) (err error) {
		loaded[i], err = k.Weight(on, names[i])
		return err
	})
	if err != nil {
		for _, weight := range loaded {
			if weight != nil {
				weight.Close()
			}
		}
		return nil, err
	}
	weights := make(map[string]*Weight, len(names))
	for i, name := range names {
		if twice := weights[name]; twice != nil {
			twice.Close()
		}
		weights[name] = loaded[i]
	}
	return weights, nil
}

// each calls work(i) for i below count on several goroutines, until one fails or the context is done,
// and returns when all have returned.
func each(ctx context.Context, count int, work func(i int) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(count, runtime.GOMAXPROCS(0)) {
		group.Add(1)
		go func() {
			defer group.Done()
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= count {
					return
				}
				if err := work(i); err != nil {
					stop(err)
				}
			}
		}()
	}
	group.Wait()
	return context.Cause(ctx)
}
