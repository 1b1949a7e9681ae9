package main

import "math"

// The small operations between the matrix products, in float32. Sums run over 16 lanes that are then
// added in a fixed order, as the engine in C++ does it: float32 sums depend on their order, and the two
// are to write the same text.

const lanes = 16

// sumLanes adds up 16 partial sums, halving.
func sumLanes(s *[lanes]float32) float32 {
	for half := lanes / 2; half > 0; half /= 2 {
		for i := range half {
			s[i] += s[i+half]
		}
	}
	return s[0]
}

// dot is the product of two vectors of one length.
func dot(a, b []float32) float32 {
	var s [lanes]float32
	for len(a) >= lanes && len(b) >= lanes {
		x, y := (*[lanes]float32)(a), (*[lanes]float32)(b)
		for i := range s {
			s[i] += x[i] * y[i]
		}
		a, b = a[lanes:], b[lanes:]
	}
	for i := range min(len(a), len(b)) {
		s[i] += a[i] * b[i]
	}
	return sumLanes(&s)
}

// rmsNorm gives output[i] = weight[i] · x[i] / sqrt(mean(x²) + eps).
func rmsNorm(x, weight []float32, eps float32, output []float32) {
	mean := dot(x, x) / float32(len(x))
	scale := 1 / float32(math.Sqrt(float64(mean+eps)))
	for i, value := range x {
		output[i] = weight[i] * (value * scale)
	}
}

// add gives x[i] += y[i].
func add(x, y []float32) {
	for i, value := range y {
		x[i] += value
	}
}

// siluMultiply gives gate[i] = silu(gate[i]) · up[i].
func siluMultiply(gate, up []float32) {
	for i, value := range gate {
		// Beyond 88 e^x is infinite in float32, and the quotient 0 all the same.
		gate[i] = value / (1 + exp(min(-value, 88))) * up[i]
	}
}

// exp is e^x for x <= 88, to about 2 units in the last place; 0 below -87. The fraction of the power of two
// is a polynomial (Taylor's, degree 6, on [-ln2/2, ln2/2]); its integer goes to the exponent.
func exp(x float32) float32 {
	if x < -87 {
		return 0
	}
	// Adding and subtracting 1.5 · 2^23 rounds to the nearest integer.
	const shift = 12582912
	whole := float32(x*1.44269504+shift) - shift
	// ln 2 in two parts, the first exact in few bits.
	r := (x - whole*0.693359375) + whole*2.12194440e-4
	poly := float32(1.0 / 720)
	poly = poly*r + 1.0/120
	poly = poly*r + 1.0/24
	poly = poly*r + 1.0/6
	poly = poly*r + 0.5
	poly = poly*r + 1
	poly = poly*r + 1
	return poly * math.Float32frombits(uint32(int32(whole)+127)<<23)
}

// expShifted gives scores[i] = e^(scores[i] - largest), and their sum.
func expShifted(scores []float32) float32 {
	largest := scores[0]
	for _, score := range scores {
		largest = max(largest, score)
	}
	var s [lanes]float32
	for i, score := range scores {
		scores[i] = exp(score - largest)
		s[i%lanes] += scores[i]
	}
	return sumLanes(&s)
}

// weightedSum gives output[d] = Σ factors[i] · rows[i·width + d], width being that of the output.
func weightedSum(factors, rows, output []float32) {
	clear(output)
	for i, factor := range factors {
		add := rows[i*len(output):][:len(output)]
		for d := range output {
			output[d] += factor * add[d]
		}
	}
}

// Rotary turns pairs (x[i], x[i + half]) by position · frequency[i].
type Rotary struct {
	frequencies  []float32
	cosine, sine []float32
}

// SetPositions prepares for count positions from first on.
func (r *Rotary) SetPositions(first, count int) {
	half := len(r.frequencies)
	r.cosine, r.sine = resize(r.cosine, count*half), resize(r.sine, count*half)
	for row := range count {
		for i, frequency := range r.frequencies {
			angle := float64(float32(first+row) * frequency)
			r.cosine[row*half+i], r.sine[row*half+i] = float32(math.Cos(angle)), float32(math.Sin(angle))
		}
	}
}

// Rotate turns one head of the row-th of these positions.
func (r *Rotary) Rotate(head []float32, row int) {
	half := len(r.frequencies)
	cosine, sine := r.cosine[row*half:][:half], r.sine[row*half:][:half]
	left, right := head[:half], head[half:][:half]
	for i, a := range left {
		b := right[i]
		left[i] = a*cosine[i] - b*sine[i]
		right[i] = b*cosine[i] + a*sine[i]
	}
}

// resize gives a slice of that length, the old memory if it is large enough.
func resize(values []float32, length int) []float32 {
	if cap(values) < length {
		return make([]float32, length)
	}
	return values[:length]
}
