package fourbit_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	fourbit "github.com/fourbit/fourbit/bindings/go"
)

const (
	downProj = "model.layers.0.mlp.down_proj.weight"
	head     = "lm_head.weight"
)

func newPlan(t *testing.T, quantizer *fourbit.Quantizer, config fourbit.PlanConfig) *fourbit.Plan {
	t.Helper()
	plan, err := quantizer.Plan(openFixture(t), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plan.Close() })
	return plan
}

func TestPlanSaysWhatAndWhy(t *testing.T) {
	plan := newPlan(t, newQuantizer(t, newContext(t, 1)), fourbit.PlanConfig{Profile: fourbit.ProfileV5})
	entries, err := plan.Entries()
	if err != nil {
		t.Fatal(err)
	}
	totals, err := plan.Totals()
	if err != nil {
		t.Fatal(err)
	}
	sum := fourbit.PlanTotals{Profile: fourbit.ProfileV5}
	for _, entry := range entries {
		if entry.Reason == "" || entry.Device != "" || entry.SourceDType != fourbit.BFloat16 {
			t.Errorf("%+v", entry)
		}
		if entry.Converted() {
			sum.Converted++
		} else {
			sum.Kept++
		}
		sum.BytesBefore += entry.BytesBefore
		sum.BytesAfter += entry.BytesAfter
	}
	if sum != totals || totals.Converted != 35 || totals.Kept != 13 {
		t.Errorf("totals %+v, summed up %+v", totals, sum)
	}
	kept, err := plan.Entry(head)
	if err != nil || kept.Action != fourbit.Keep || kept.Shape[0] != 256 {
		t.Errorf("%+v, %v", kept, err)
	}
	if _, err := plan.Entry("no.such"); !errors.Is(err, fourbit.NotFound) {
		t.Errorf("no such tensor: %v", err)
	}
}

func TestPlanIsFollowed(t *testing.T) {
	ctx := newContext(t, 2)
	quantizer := newQuantizer(t, ctx)
	// An empty list of modules to skip is not the same as none: the head is converted.
	plan := newPlan(t, quantizer, fourbit.PlanConfig{Profile: fourbit.ProfileV4, SkipModules: []string{}})
	text, err := plan.JSON()
	if err != nil || !json.Valid(text) {
		t.Fatalf("%s, %v", text, err)
	}
	again, err := fourbit.PlanFromJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	dir := filepath.Join(t.TempDir(), "nf4")
	if err := quantizer.QuantizeCheckpoint(context.Background(), openFixture(t), again, dir, fourbit.SaveConfig{NoSideFiles: true}); err != nil {
		t.Fatal(err)
	}
	quantized, err := fourbit.OpenCheckpoint(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer quantized.Close()
	if entry, err := quantized.Entry(head); err != nil || !entry.Quantized {
		t.Errorf("%+v, %v", entry, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "tokenizer_config.json")); err == nil {
		t.Error("a side file was copied")
	}
	if _, err := fourbit.PlanFromJSON([]byte("{]")); !errors.Is(err, fourbit.Format) {
		t.Errorf("damaged JSON: %v", err)
	}
	if _, err := fourbit.PlanFromJSON(nil); err == nil {
		t.Error("no JSON at all was taken")
	}
}

func TestDeviceMap(t *testing.T) {
	quantizer := newQuantizer(t, newContext(t, 1))
	plan := newPlan(t, quantizer, fourbit.PlanConfig{DeviceMap: "sequential", MaxMemory: "0=400KiB,1=4MiB"})
	entries, err := plan.Entries()
	if err != nil {
		t.Fatal(err)
	}
	devices := map[string]uint64{}
	for _, entry := range entries {
		devices[entry.Device] += entry.BytesAfter
	}
	if len(devices) != 2 || devices["0"] == 0 || devices["0"] > 400<<10 || devices["1"] == 0 {
		t.Errorf("bytes per device: %v", devices)
	}
	_, err = quantizer.Plan(openFixture(t), fourbit.PlanConfig{DeviceMap: "auto", MaxMemory: "0=much"})
	if !errors.Is(err, fourbit.InvalidArgument) || !strings.Contains(err.Error(), "much") {
		t.Errorf("a limit that is none: %v", err)
	}
}
