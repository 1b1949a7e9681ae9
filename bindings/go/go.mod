module github.com/fourbit/fourbit/bindings/go

go 1.24
