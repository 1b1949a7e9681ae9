/* Products against a reference in doubles: every combination of element types, transposed or not,
 * with and without bias and accumulation, and shapes that fit no block size. */
#include "check.h"
#include "halves.h"

#include <math.h>

typedef struct {
    fourbit_dtype dtype;
    void* data;     /* as the library sees it */
    double* values; /* what it means */
    size_t count;
} array;

static size_t size_of(fourbit_dtype dtype) { return dtype.bits / 8; }

static double get(const array* a, size_t i) {
    if (a->dtype.bits == 32) {
        return (double)((const float*)a->data)[i];
    }
    const uint16_t half = ((const uint16_t*)a->data)[i];
    return a->dtype.code == FOURBIT_DTYPE_CODE_BFLOAT ? bf16_value(half) : f16_value(half);
}

static array random_array(fourbit_dtype dtype, size_t count, uint64_t seed) {
    array a = {dtype, allocate(count * size_of(dtype)), allocate(count * sizeof(double)), count};
    float* values = random_floats(count, 1, seed);
    for (size_t i = 0; i < count; ++i) {
        if (dtype.bits == 32) {
            ((float*)a.data)[i] = values[i];
        } else {
            ((uint16_t*)a.data)[i] =
                dtype.code == FOURBIT_DTYPE_CODE_BFLOAT ? bf16_of(values[i]) : f16_of(values[i]);
        }
        a.values[i] = get(&a, i);
    }
    free(values);
    return a;
}

static void drop(array* a) {
    free(a->data);
    free(a->values);
}

typedef struct {
    int64_t m, n, k;
    uint32_t flags;
    fourbit_dtype input, bias, output;
    int has_bias;
} product;

/* What one rounding to a type may cost, relative to the value. */
static double rounding(fourbit_dtype dtype) {
    if (dtype.bits == 32) {
        return ldexp(1, -24);
    }
    return dtype.code == FOURBIT_DTYPE_CODE_BFLOAT ? ldexp(1, -8) : ldexp(1, -11);
}

/* Without EXACT, 16-bit inputs may meet rounded weights: to bfloat16 with bfloat16 inputs, to 16
 * significant bits with float16 ones. */
static double weight_rounding(const product* p) {
    if ((p->flags & FOURBIT_GEMM_EXACT) != 0 || p->input.bits == 32) {
        return 0;
    }
    return p->input.code == FOURBIT_DTYPE_CODE_BFLOAT ? ldexp(1, -8) : ldexp(1, -16);
}

static int failures_shown;

/* output (as it was before: `before`) against the sum of products, one by one. */
static void check_product(const product* p, const double* weight, const array* input,
                          const array* bias, const array* before, const array* output) {
    const int transpose = (p->flags & FOURBIT_GEMM_TRANSPOSE) != 0;
    const size_t inner = (size_t)(transpose ? p->n : p->k);
    const size_t outer = (size_t)(transpose ? p->k : p->n);
    const double per_product = weight_rounding(p);
    for (size_t row = 0; row < (size_t)p->m; ++row) {
        for (size_t column = 0; column < outer; ++column) {
            double sum = p->has_bias ? bias->values[column] : 0;
            double size = fabs(sum);
            const size_t at = row * outer + column;
            if ((p->flags & FOURBIT_GEMM_ACCUMULATE) != 0) {
                sum += before->values[at];
                size += fabs(before->values[at]);
            }
            for (size_t i = 0; i < inner; ++i) {
                const double w =
                    weight[transpose ? i * (size_t)p->k + column : column * (size_t)p->k + i];
                const double term = input->values[row * inner + i] * w;
                sum += term;
                size += fabs(term);
            }
            const double additions = (double)inner + 3;
            const double allowed = size * (per_product + additions * ldexp(1, -24)) +
                                   fabs(sum) * rounding(p->output) + ldexp(1, -24);
            const double error = fabs(get(output, at) - sum);
            if (!(error <= allowed) && failures_shown++ < 10) {
                printf(
                    "m %d n %d k %d flags %u input %d/%d [%d, %d]: %.9g, expected %.9g +- %.3g\n",
                    (int)p->m, (int)p->n, (int)p->k, p->flags, p->input.code, p->input.bits,
                    (int)row, (int)column, get(output, at), sum, allowed);
            }
            if (!(error <= allowed)) {
                ++check_failures;
            }
        }
    }
}

static fourbit_context* context;

/* The weight, and its decoded values. */
typedef struct {
    fourbit_weight* handle;
    double* values;
} decoded_weight;

static decoded_weight new_weight(uint32_t type, uint32_t block, uint32_t double_quant, int64_t n,
                                 int64_t k) {
    fourbit_quantizer* quantizer = new_quantizer(context, type, block, double_quant);
    decoded_weight weight = {random_weight(quantizer, n, k, (uint64_t)(n * 1000 + k)), NULL};
    const size_t count = (size_t)(n * k);
    float* decoded = allocate(count * sizeof *decoded);
    const int64_t shape[2] = {n, k};
    const fourbit_tensor to = tensor_of(decoded, F32, 2, shape);
    NEED(fourbit_dequantize(context, weight.handle, &to));
    weight.values = allocate(count * sizeof *weight.values);
    for (size_t i = 0; i < count; ++i) {
        weight.values[i] = (double)decoded[i];
    }
    free(decoded);
    fourbit_quantizer_destroy(quantizer);
    return weight;
}

static void drop_weight(decoded_weight* weight) {
    fourbit_weight_destroy(weight->handle);
    free(weight->values);
}

static void multiply(const product* p, const decoded_weight* weight) {
    const int transpose = (p->flags & FOURBIT_GEMM_TRANSPOSE) != 0;
    const int64_t inner = transpose ? p->n : p->k;
    const int64_t outer = transpose ? p->k : p->n;
    array input = random_array(p->input, (size_t)(p->m * inner), 1);
    array bias = random_array(p->bias, (size_t)outer, 2);
    array before = random_array(p->output, (size_t)(p->m * outer), 3);
    array output = random_array(p->output, (size_t)(p->m * outer), 3);
    const int64_t input_shape[2] = {p->m, inner};
    const int64_t output_shape[2] = {p->m, outer};
    const fourbit_tensor x = tensor_of(input.data, p->input, 2, input_shape);
    const fourbit_tensor b = tensor_of(bias.data, p->bias, 1, &output_shape[1]);
    const fourbit_tensor y = tensor_of(output.data, p->output, 2, output_shape);
    const fourbit_gemm_config config = {sizeof config, p->flags};
    if (OK(fourbit_gemm(context, &x, weight->handle, p->has_bias ? &b : NULL, &config, &y))) {
        check_product(p, weight->values, &input, &bias, &before, &output);
    }
    drop(&input);
    drop(&bias);
    drop(&before);
    drop(&output);
}

/* All types and flags on one small odd shape. */
static void combinations(void) {
    const fourbit_dtype types[3] = {F32, F16, BF16};
    decoded_weight weight = new_weight(FOURBIT_QUANT_TYPE_NF4, 64, 1, 13, 75);
    product p = {3, 13, 75, 0, F32, F32, F32, 0};
    for (int i = 0; i < 27; ++i) {
        p.input = types[i % 3];
        p.output = types[i / 3 % 3];
        p.bias = types[i / 9];
        for (p.flags = 0; p.flags < 8; ++p.flags) {
            for (p.has_bias = 0; p.has_bias < 2; ++p.has_bias) {
                for (p.m = 1; p.m <= 5; p.m += 4) {
                    multiply(&p, &weight);
                }
            }
        }
    }
    drop_weight(&weight);
}

/* Shapes: blocks that straddle rows, single rows and columns, sizes around those of tiles. */
static void shapes(void) {
    const int64_t sizes[][2] = {{1, 1},  {1, 64},   {64, 1},  {2, 33},   {17, 64},  {33, 100},
                                {5, 63}, {128, 65}, {40, 96}, {16, 257}, {70, 130}, {96, 576}};
    const int64_t batches[] = {1, 2, 3, 7, 16, 17, 33, 70};
    const fourbit_dtype types[2] = {F32, BF16};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; ++s) {
        for (uint32_t block = 32; block <= 256; block *= 2) {
            const uint32_t type = block == 128 ? FOURBIT_QUANT_TYPE_FP4 : FOURBIT_QUANT_TYPE_NF4;
            decoded_weight weight = new_weight(type, block, block == 64, sizes[s][0], sizes[s][1]);
            for (size_t b = 0; b < sizeof batches / sizeof *batches; ++b) {
                product p = {batches[b], sizes[s][0], sizes[s][1], 0, F32, F32, F32, 0};
                p.input = types[(s + b) % 2];
                multiply(&p, &weight);
                p.flags = FOURBIT_GEMM_TRANSPOSE;
                multiply(&p, &weight);
            }
            drop_weight(&weight);
        }
    }
}

int main(void) {
    context = new_context(2);
    combinations();
    shapes();
    fourbit_context_destroy(context);
    return check_result();
}
