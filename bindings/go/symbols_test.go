package fourbit_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Functions of the C API that this package does without, and why.
var withoutGo = map[string]string{}

// Functions that cannot fail, and so need no thread on which to find the words.
var cannotFail = []string{
	"fourbit_abi_version", "fourbit_build_info", "fourbit_cpu_features", "fourbit_last_error",
	"fourbit_memory_free", "fourbit_status_name", "fourbit_version",
	"fourbit_go_run_task", "fourbit_go_set_panic", "fourbit_go_take_panic", "fourbit_go_dlpack_delete",
}

// sources has the package's Go files, parsed, and the text of all C in it.
func sources(t *testing.T) (files map[string]*ast.File, c string) {
	t.Helper()
	files = map[string]*ast.File{}
	names, _ := filepath.Glob("*.[gch]*")
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") || name == "go.mod" {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, ".go") {
			c += string(text)
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = file
		if preamble, _, found := strings.Cut(string(text), `import "C"`); found {
			c += preamble
		}
	}
	return files, c
}

// calledC is the name of the function of C that a call is for.
func calledC(call *ast.CallExpr) string {
	if selector, ok := call.Fun.(*ast.SelectorExpr); ok {
		if c, ok := selector.X.(*ast.Ident); ok && c.Name == "C" && strings.HasPrefix(selector.Sel.Name, "fourbit_") {
			return selector.Sel.Name
		}
	}
	return ""
}

func TestTheWholeCAPIIsCovered(t *testing.T) {
	text, err := os.ReadFile("../../tests/abi/symbols.txt")
	if err != nil {
		t.Skip("not in fourbit's own tree:", err)
	}
	files, c := sources(t)
	called := map[string]bool{}
	for _, file := range files {
		ast.Inspect(file, func(node ast.Node) bool {
			if call, ok := node.(*ast.CallExpr); ok {
				called[calledC(call)] = true
			}
			return true
		})
	}
	for _, match := range regexp.MustCompile(`\b(fourbit_\w+)\(`).FindAllStringSubmatch(c, -1) {
		called[match[1]] = true
	}
	symbols := strings.Fields(string(text))
	for _, symbol := range symbols {
		switch reason := withoutGo[symbol]; {
		case called[symbol] && reason != "":
			t.Errorf("%s is called, and yet an exception (%s)", symbol, reason)
		case !called[symbol] && reason == "":
			t.Errorf("%s is called nowhere: wrap it, or enter it in withoutGo with a reason", symbol)
		}
	}
	for symbol := range withoutGo {
		if !slices.Contains(symbols, symbol) {
			t.Errorf("the exception %s is no function of the library", symbol)
		}
	}
	if len(symbols) < 60 {
		t.Errorf("only %d symbols", len(symbols))
	}
}

// Every C call that may fail is made where its words are read on the same thread, and where the build tag
// fourbit_collect collects: inside call(func() …), or a function that hands such a function on to call.
func TestEveryCallGoesThroughCall(t *testing.T) {
	through := []string{"call", "newWeight", "readText", "quantizer", "convert"}
	files, _ := sources(t)
	checked := 0
	for _, name := range slices.Sorted(maps.Keys(files)) {
		var inspect func(node ast.Node, inside bool)
		inspect = func(node ast.Node, inside bool) {
			ast.Inspect(node, func(node ast.Node) bool {
				switch node := node.(type) {
				case *ast.CallExpr:
					function := calledC(node)
					if function != "" && !slices.Contains(cannotFail, function) && !strings.HasSuffix(function, "_destroy") {
						checked++
						if !inside {
							t.Errorf("%s: C.%s outside of call(func() …)", name, function)
						}
					}
					if slices.Contains(through, calledName(node)) {
						for _, argument := range node.Args {
							inspect(argument, true)
						}
						return false
					}
				}
				return true
			})
		}
		inspect(files[name], false)
	}
	if checked < 50 {
		t.Errorf("only %d calls were seen", checked)
	}
}

// calledName is the plain name of what is called.
func calledName(call *ast.CallExpr) string {
	switch function := call.Fun.(type) {
	case *ast.Ident:
		return function.Name
	case *ast.SelectorExpr:
		return function.Sel.Name
	}
	return ""
}
