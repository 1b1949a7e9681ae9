package layout

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

var update = flag.Bool("update", false, "rewrite testdata/layout.txt: right after a struct has grown at its end")

const held = "testdata/layout.txt"

// goView has a line for every struct (its size) and field (its offset and size), as Go sees them.
func goView() (lines []string) {
	for name, structure := range Structs {
		lines = append(lines, fmt.Sprintf("%s %d", name, structure.Size()))
		for i := range structure.NumField() {
			field := structure.Field(i)
			if field.Name == "_" { // cgo's padding
				continue
			}
			lines = append(lines, fmt.Sprintf("%s.%s %d %d", name, field.Name, field.Offset, field.Type.Size()))
		}
	}
	slices.Sort(lines)
	return lines
}

var (
	comment   = regexp.MustCompile(`(?s)/\*.*?\*/`)
	structure = regexp.MustCompile(`(?s)typedef struct (fourbit_\w+) \{(.*?)\n\} fourbit_\w+;`)
	field     = regexp.MustCompile(`(\w+)(?:\[\w+\])?;`)
	function  = regexp.MustCompile(`\(\*(\w+)\)\(`)
)

// cView has the same lines from a C program made of the header's text.
func cView(t *testing.T) []string {
	t.Helper()
	flags, err := exec.Command("pkg-config", "--cflags", "fourbit").Output()
	if err != nil {
		t.Fatalf("pkg-config --cflags fourbit: %v", err)
	}
	folder, err := exec.Command("pkg-config", "--variable=includedir", "fourbit").Output()
	if err != nil {
		t.Fatal(err)
	}
	header, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(folder)), "fourbit", "fourbit.h"))
	if err != nil {
		t.Fatal(err)
	}
	program := "#include <fourbit/fourbit.h>\n#include <stdio.h>\nint main(void) {\n"
	for _, s := range structure.FindAllStringSubmatch(comment.ReplaceAllString(string(header), ""), -1) {
		program += fmt.Sprintf("printf(\"%s %%zu\\n\", sizeof(%s));\n", s[1], s[1])
		for _, declaration := range strings.SplitAfter(s[2], ";") {
			name := function.FindStringSubmatch(declaration)
			if name == nil {
				name = field.FindStringSubmatch(declaration)
			}
			if name != nil {
				program += fmt.Sprintf("printf(\"%[1]s.%[2]s %%zu %%zu\\n\", offsetof(%[1]s, %[2]s), sizeof(((%[1]s *)0)->%[2]s));\n", s[1], name[1])
			}
		}
	}
	source, binary := filepath.Join(t.TempDir(), "layout.c"), filepath.Join(t.TempDir(), "layout")
	if err := os.WriteFile(source, []byte(program+"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	arguments := append(strings.Fields(string(flags)), source, "-o", binary)
	if said, err := exec.Command("cc", arguments...).CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, said)
	}
	out, err := exec.Command(binary).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(lines)
	return lines
}

// differences of two sorted lists, as lines that one of them lacks.
func differences(expected, found []string) (lines []string) {
	for _, line := range expected {
		if !slices.Contains(found, line) {
			lines = append(lines, "- "+line)
		}
	}
	for _, line := range found {
		if !slices.Contains(expected, line) {
			lines = append(lines, "+ "+line)
		}
	}
	return lines
}

func TestGoSeesTheStructsAsCDoes(t *testing.T) {
	c := cView(t)
	if len(c) < 100 {
		t.Fatalf("the header's text gave only %d lines", len(c))
	}
	if lines := differences(c, goView()); len(lines) > 0 {
		t.Errorf("structs as C (-) and as Go (+) sees them; a struct that only C has must enter Structs:\n%s", strings.Join(lines, "\n"))
	}
}

func TestLayoutIsHeld(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 || runtime.GOOS == "windows" {
		t.Skip("what is held is for 64-bit systems with 64-bit longs")
	}
	found := goView()
	if *update {
		if err := os.WriteFile(held, []byte(strings.Join(found, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(held)
	if err != nil {
		t.Fatal(err)
	}
	if lines := differences(strings.Split(strings.TrimSpace(string(text)), "\n"), found); len(lines) > 0 {
		t.Errorf("structs of %s (-) and now (+). A struct may grow at its end (then: go test ./internal/layout -update); "+
			"anything else breaks programs: raise FOURBIT_ABI_VERSION.\n%s", held, strings.Join(lines, "\n"))
	}
}
