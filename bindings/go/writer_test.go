package fourbit_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	fourbit "github.com/fourbit/fourbit/bindings/go"
)

func TestWriterWritesWhatIsReadBack(t *testing.T) {
	ctx := newContext(t, 1)
	weight, _ := newWeight(t, ctx, fourbit.QuantConfig{DoubleQuant: true})
	dir := filepath.Join(t.TempDir(), "out")
	writer, err := fourbit.NewWriter(dir, fourbit.SaveConfig{MaxShardSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	norm, config := random(5, 64), []byte(`{"model_type": "llama"}`)
	for _, err := range []error{
		writer.AddTensor("norm.weight", fourbit.Float32s(norm)),
		writer.AddWeight("proj.weight", weight),
		writer.SetMetadata("made by", "a test"),
		writer.SetConfig(config),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if err := writer.Finish(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("finishing under a context that is done: %v", err)
	}
	if err := writer.Finish(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := writer.Finish(context.Background()); !errors.Is(err, fourbit.InvalidState) {
		t.Errorf("finishing twice: %v", err)
	}
	read, err := fourbit.OpenCheckpointFS(os.DirFS(filepath.Dir(dir)), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	if text, err := read.Config(); err != nil || string(text) != string(config) {
		t.Errorf("config %s, %v", text, err)
	}
	err = read.Tensor("norm.weight", func(mapped fourbit.Tensor) error {
		if !slices.Equal(mapped.AsFloat32s(), norm) || mapped.AsUint16s() != nil {
			t.Error("other elements were read")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	back, err := read.Weight(ctx, "proj.weight")
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if !slices.Equal(decoded(t, ctx, back), decoded(t, ctx, weight)) {
		t.Error("another weight was read")
	}
}

func TestWriterRefusesANameTwice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	writer, err := fourbit.NewWriter(dir, fourbit.SaveConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	for range 2 {
		err = errors.Join(err, writer.AddTensor("twice", fourbit.Uint8s(make([]byte, 8))))
	}
	if err = errors.Join(err, writer.Finish(context.Background())); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("a name twice: %v", err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "*")); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

// Goroutines take turns, and Close waits for none and pulls nothing from under them.
func TestWriterTakesOneCallAtATime(t *testing.T) {
	writer, err := fourbit.NewWriter(filepath.Join(t.TempDir(), "out"), fourbit.SaveConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for i := range 4 {
		group.Add(1)
		go func() {
			defer group.Done()
			for j := range 20 {
				err := writer.AddTensor(fmt.Sprint(i, ".", j), fourbit.Uint8s(make([]byte, 100)))
				if err != nil && !errors.Is(err, fourbit.ErrClosed) {
					t.Error(err)
				}
				if i == 3 && j == 15 {
					writer.Close()
				}
			}
		}()
	}
	group.Wait()
}
