/* Products through odd views, grouped products, and calls that are refused. */
#include "check.h"

static fourbit_context* context;
static fourbit_quantizer* quantizer;

/* Rows that lie apart, columns that do, and leading dimensions: as the compact ones. */
static void views(void) {
    enum { A = 2, B = 3, M = A * B, N = 20, K = 70, WIDE = 90 };
    fourbit_weight* weight = random_weight(quantizer, N, K, 4);
    float* x = random_floats(M * K, 1, 6);
    float expected[M * N];
    float found[M * WIDE] = {0};
    float* apart = allocate(M * WIDE * sizeof *apart);
    float* turned = allocate(M * K * sizeof *turned);
    for (int i = 0; i < M * K; ++i) {
        apart[i / K * WIDE + i % K] = x[i];
        turned[i % K * M + i / K] = x[i];
    }
    const int64_t flat_in[2] = {M, K};
    const int64_t flat_out[2] = {M, N};
    const int64_t deep_in[3] = {A, B, K};
    const int64_t deep_out[3] = {A, B, N};
    const fourbit_tensor input = tensor_of(x, F32, 2, flat_in);
    const fourbit_tensor output = tensor_of(expected, F32, 2, flat_out);
    NEED(fourbit_gemm(context, &input, weight, NULL, NULL, &output));

    const int64_t apart_strides[2] = {WIDE, 1};
    const int64_t turned_strides[2] = {1, M};
    const int64_t deep_strides[3] = {B * WIDE, WIDE, 1};
    const struct {
        float* data;
        int32_t rank;
        const int64_t *shape_in, *shape_out, *strides;
    } cases[] = {{x, 3, deep_in, deep_out, NULL},
                 {apart, 2, flat_in, flat_out, apart_strides},
                 {apart, 3, deep_in, deep_out, deep_strides},
                 {turned, 2, flat_in, flat_out, turned_strides}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
        fourbit_tensor from = tensor_of(cases[i].data, F32, cases[i].rank, cases[i].shape_in);
        fourbit_tensor to = tensor_of(found, F32, cases[i].rank, cases[i].shape_out);
        from.strides = cases[i].strides;
        memset(found, 0, sizeof found);
        OK(fourbit_gemm(context, &from, weight, NULL, NULL, &to));
        CHECK(memcmp(found, expected, sizeof expected) == 0);
        /* The output apart: every other element. */
        const int64_t out_strides[3] = {B * N * 2, N * 2, 2};
        to.strides = cases[i].rank == 3 ? out_strides : out_strides + 1;
        memset(found, 0, sizeof found);
        OK(fourbit_gemm(context, &from, weight, NULL, NULL, &to));
        int equal = 1;
        for (int j = 0; j < M * N; ++j) {
            equal &= found[2 * j] == expected[j] && found[2 * j + 1] == 0;
        }
        CHECK(equal);
    }
    fourbit_weight_destroy(weight);
    free(x);
    free(apart);
    free(turned);
}

/* Experts over consecutive rows: as one product each. */
static void grouped(void) {
    enum { EXPERTS = 4, N = 24, K = 96, M = 11 };
    const int64_t offsets[EXPERTS + 1] = {0, 3, 3, 4, M};
    fourbit_weight* experts[EXPERTS];
    for (int e = 0; e < EXPERTS; ++e) {
        experts[e] = random_weight(quantizer, N, K, 20 + (uint64_t)e);
    }
    float* x = random_floats(M * K, 1, 7);
    float expected[M * N], found[M * N];
    for (int e = 0; e < EXPERTS; ++e) {
        const int64_t in[2] = {offsets[e + 1] - offsets[e], K};
        const int64_t out[2] = {in[0], N};
        const fourbit_tensor from = tensor_of(x + offsets[e] * K, F32, 2, in);
        const fourbit_tensor to = tensor_of(expected + offsets[e] * N, F32, 2, out);
        NEED(fourbit_gemm(context, &from, experts[e], NULL, NULL, &to));
    }
    const int64_t in[2] = {M, K};
    const int64_t out[2] = {M, N};
    const fourbit_tensor from = tensor_of(x, F32, 2, in);
    const fourbit_tensor to = tensor_of(found, F32, 2, out);
    const fourbit_weight* const* list = (const fourbit_weight* const*)experts;
    OK(fourbit_grouped_gemm(context, &from, offsets, list, EXPERTS, NULL, &to));
    CHECK(memcmp(expected, found, sizeof found) == 0);

    const int64_t descending[EXPERTS + 1] = {0, 3, 2, 4, M};
    const int64_t short_of[EXPERTS + 1] = {0, 3, 3, 4, M - 1};
    FAILS(INVALID_ARGUMENT, "ascend",
          fourbit_grouped_gemm(context, &from, descending, list, EXPERTS, NULL, &to));
    FAILS(INVALID_ARGUMENT, "ascend",
          fourbit_grouped_gemm(context, &from, short_of, list, EXPERTS, NULL, &to));
    FAILS(INVALID_ARGUMENT, "count is 0",
          fourbit_grouped_gemm(context, &from, offsets, list, 0, NULL, &to));
    fourbit_weight_destroy(experts[2]);
    experts[2] = random_weight(quantizer, N + 1, K, 3);
    FAILS(SHAPE_MISMATCH, "expert 2",
          fourbit_grouped_gemm(context, &from, offsets, list, EXPERTS, NULL, &to));
    for (int e = 0; e < EXPERTS; ++e) {
        fourbit_weight_destroy(experts[e]);
    }
    free(x);
}

static void refused(void) {
    fourbit_weight* weight = random_weight(quantizer, 8, 64, 4);
    float x[2 * 64] = {0}, y[2 * 64] = {0};
    const int64_t in[2] = {2, 64}, out[2] = {2, 8}, rows[2] = {3, 8};
    const fourbit_tensor input = tensor_of(x, F32, 2, in);
    const fourbit_tensor output = tensor_of(y, F32, 2, out);
    const fourbit_tensor more = tensor_of(y, F32, 2, rows);
    const fourbit_tensor scalar = tensor_of(x, F32, 0, NULL);
    const fourbit_tensor integer = tensor_of(x, I32, 2, in);
    const fourbit_tensor self = tensor_of(x, F32, 2, out);
    fourbit_gemm_config config = {sizeof config, 0};
    FAILS(SHAPE_MISMATCH, "[3, 8]", fourbit_gemm(context, &input, weight, NULL, NULL, &more));
    FAILS(SHAPE_MISMATCH, "dimension", fourbit_gemm(context, &scalar, weight, NULL, NULL, &output));
    FAILS(DTYPE_UNSUPPORTED, "input", fourbit_gemm(context, &integer, weight, NULL, NULL, &output));
    FAILS(INVALID_ARGUMENT, "overlap", fourbit_gemm(context, &input, weight, NULL, NULL, &self));
    FAILS(SHAPE_MISMATCH, "bias", fourbit_gemm(context, &input, weight, &output, NULL, &output));
    config.flags = FOURBIT_GEMM_TRANSPOSE;
    FAILS(SHAPE_MISMATCH, "expected last dimension 8",
          fourbit_gemm(context, &input, weight, NULL, &config, &output));
    config.flags = 1U << 31;
    FAILS(INVALID_ARGUMENT, "0x80000000",
          fourbit_gemm(context, &input, weight, NULL, &config, &output));
    fourbit_weight_destroy(weight);
}

int main(void) {
    context = new_context(2);
    quantizer = new_quantizer(context, FOURBIT_QUANT_TYPE_NF4, 64, 1);
    views();
    grouped();
    refused();
    fourbit_quantizer_destroy(quantizer);
    fourbit_context_destroy(context);
    return check_result();
}
