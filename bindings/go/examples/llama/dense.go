package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	fourbit "github.com/fourbit/fourbit/bindings/go"
)

// Matrix is a row-major matrix of float32, float16 or bfloat16, for what a checkpoint keeps unquantized.
type Matrix struct {
	bytes         []byte // mapped
	dtype         fourbit.DType
	rows, columns int
}

func newMatrix(t fourbit.Tensor) (*Matrix, error) {
	switch t.DType() {
	case fourbit.Float32, fourbit.Float16, fourbit.BFloat16:
	default:
		return nil, fmt.Errorf("its dtype %v is neither float32, float16 nor bfloat16", t.DType())
	}
	shape := t.Shape()
	columns := int(shape[len(shape)-1])
	return &Matrix{t.Bytes(), t.DType(), len(t.Bytes()) / t.DType().Size() / columns, columns}, nil
}

// Row converts one row to float32.
func (m *Matrix) Row(row int, output []float32) {
	size := m.dtype.Size()
	from := m.bytes[row*m.columns*size:][:m.columns*size]
	switch m.dtype {
	case fourbit.Float32:
		for i := range output {
			output[i] = math.Float32frombits(binary.LittleEndian.Uint32(from[4*i:]))
		}
	case fourbit.BFloat16:
		for i := range output {
			output[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(from[2*i:])) << 16)
		}
	default:
		for i := range output {
			output[i] = fromFloat16(binary.LittleEndian.Uint16(from[2*i:]))
		}
	}
}

// fromFloat16 moves exponent and fraction into place; a power of two makes up for the other bias, and turns
// subnormals into what they stand for. Infinities and NaNs get the largest exponent.
func fromFloat16(half uint16) float32 {
	bits := math.Float32bits(math.Float32frombits(uint32(half&0x7fff)<<13) * 0x1p112)
	if half&0x7c00 == 0x7c00 {
		bits |= 0x7f800000
	}
	return math.Float32frombits(bits | uint32(half&0x8000)<<16)
}

// Multiply gives output[n, rows] = input[n, columns] · matrixᵀ on some goroutines. A sum is the same for any
// number of them and any n.
func (m *Matrix) Multiply(threads int, input []float32, n int, output []float32) {
	const step = 64
	parallel(threads, (m.rows+step-1)/step, func(index int) {
		var scratch []float32
		for row := index * step; row < min((index+1)*step, m.rows); row++ {
			if n == 1 && m.dtype == fourbit.BFloat16 {
				output[row] = dotBFloat16(m.bytes[row*m.columns*2:][:m.columns*2], input[:m.columns])
				continue
			}
			scratch = resize(scratch, m.columns)
			m.Row(row, scratch)
			for i := range n {
				output[i*m.rows+row] = m.dot(scratch, input[i*m.columns:][:m.columns])
			}
		}
	})
}

// dot adds up as the engine in C++ does: of 32 columns, a lane takes two, which are 16 apart in a float32
// matrix, and neighbours in a 16-bit one.
func (m *Matrix) dot(weights, input []float32) float32 {
	if m.dtype != fourbit.Float32 {
		return dotNeighbours(weights, input)
	}
	return dot(weights, input)
}

// dotNeighbours keeps eight lanes at a time in registers.
func dotNeighbours(w, x []float32) float32 {
	var s [lanes]float32
	whole := len(x) / (2 * lanes) * (2 * lanes)
	for half := range 2 {
		var s0, s1, s2, s3, s4, s5, s6, s7 float32
		for at := half * lanes; at < whole; at += 2 * lanes {
			a, b := w[at:][:lanes], x[at:][:lanes]
			s0 += a[0] * b[0]
			s0 += a[1] * b[1]
			s1 += a[2] * b[2]
			s1 += a[3] * b[3]
			s2 += a[4] * b[4]
			s2 += a[5] * b[5]
			s3 += a[6] * b[6]
			s3 += a[7] * b[7]
			s4 += a[8] * b[8]
			s4 += a[9] * b[9]
			s5 += a[10] * b[10]
			s5 += a[11] * b[11]
			s6 += a[12] * b[12]
			s6 += a[13] * b[13]
			s7 += a[14] * b[14]
			s7 += a[15] * b[15]
		}
		copy(s[half*8:], []float32{s0, s1, s2, s3, s4, s5, s6, s7})
	}
	for i, value := range x[whole:] {
		s[i/2] += w[whole+i] * value
	}
	return sumLanes(&s)
}

// dotBFloat16 is dotNeighbours for weights as they are stored.
func dotBFloat16(w []byte, x []float32) float32 {
	var s [lanes]float32
	whole := len(x) / (2 * lanes) * (2 * lanes)
	for half := range 2 {
		var s0, s1, s2, s3, s4, s5, s6, s7 float32
		for at := half * lanes; at < whole; at += 2 * lanes {
			a, b := w[2*at:][:2*lanes], x[at:][:lanes]
			p := binary.LittleEndian.Uint32(a)
			s0 += math.Float32frombits(p<<16) * b[0]
			s0 += math.Float32frombits(p&0xffff0000) * b[1]
			p = binary.LittleEndian.Uint32(a[4:])
			s1 += math.Float32frombits(p<<16) * b[2]
			s1 += math.Float32frombits(p&0xffff0000) * b[3]
			p = binary.LittleEndian.Uint32(a[8:])
			s2 += math.Float32frombits(p<<16) * b[4]
			s2 += math.Float32frombits(p&0xffff0000) * b[5]
			p = binary.LittleEndian.Uint32(a[12:])
			s3 += math.Float32frombits(p<<16) * b[6]
			s3 += math.Float32frombits(p&0xffff0000) * b[7]
			p = binary.LittleEndian.Uint32(a[16:])
			s4 += math.Float32frombits(p<<16) * b[8]
			s4 += math.Float32frombits(p&0xffff0000) * b[9]
			p = binary.LittleEndian.Uint32(a[20:])
			s5 += math.Float32frombits(p<<16) * b[10]
			s5 += math.Float32frombits(p&0xffff0000) * b[11]
			p = binary.LittleEndian.Uint32(a[24:])
			s6 += math.Float32frombits(p<<16) * b[12]
			s6 += math.Float32frombits(p&0xffff0000) * b[13]
			p = binary.LittleEndian.Uint32(a[28:])
			s7 += math.Float32frombits(p<<16) * b[14]
			s7 += math.Float32frombits(p&0xffff0000) * b[15]
		}
		copy(s[half*8:], []float32{s0, s1, s2, s3, s4, s5, s6, s7})
	}
	for i, value := range x[whole:] {
		weight := math.Float32frombits(uint32(binary.LittleEndian.Uint16(w[2*(whole+i):])) << 16)
		s[i/2] += weight * value
	}
	return sumLanes(&s)
}

// parallel calls work(i) for every i below count on so many goroutines, this one included.
func parallel(threads, count int, work func(i int)) {
	var next atomic.Int64
	run := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= count {
				return
			}
			work(i)
		}
	}
	var others sync.WaitGroup
	for range min(threads, count) - 1 {
		others.Add(1)
		go func() {
			defer others.Done()
			run()
		}()
	}
	run()
	others.Wait()
}
