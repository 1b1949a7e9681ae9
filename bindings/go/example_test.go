package fourbit_test

import (
	"fmt"

	fourbit "github.com/fourbit/fourbit/bindings/go"
)

func Example() {
	const n, k = 64, 128
	weights, input, output := make([]float32, n*k), make([]float32, k), make([]float32, n)
	for i := range weights {
		weights[i] = 0.5
	}
	for i := range input {
		input[i] = 1
	}
	ctx, err := fourbit.NewContext(fourbit.ContextConfig{})
	if err != nil {
		panic(err)
	}
	defer ctx.Close()
	quantizer, err := ctx.NewQuantizer(fourbit.QuantConfig{})
	if err != nil {
		panic(err)
	}
	defer quantizer.Close()
	weight, err := quantizer.Quantize(fourbit.Float32s(weights, n, k))
	if err != nil {
		panic(err)
	}
	defer weight.Close()
	if err := ctx.Gemm(fourbit.Float32s(input), weight, fourbit.Float32s(output)); err != nil {
		panic(err)
	}
	fmt.Println(output[0])
	// Output: 64
}
