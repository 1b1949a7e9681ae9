/* A program of somebody else's: it has the header and the library, and nothing of the checkout. */
#include <fourbit/fourbit.h>
#include <math.h>
#include <stdio.h>

enum { ROWS = 16, COLUMNS = 96 };

static int failed(const char* what, fourbit_status status) {
    if (status != FOURBIT_STATUS_OK) {
        fprintf(stderr, "%s: %s: %s\n", what, fourbit_status_name(status), fourbit_last_error());
    }
    return status != FOURBIT_STATUS_OK;
}

static fourbit_tensor tensor(float* data, const int64_t* shape, int32_t ndim) {
    fourbit_tensor view = {0};
    view.data = data;
    view.ndim = ndim;
    view.dtype.code = FOURBIT_DTYPE_CODE_FLOAT;
    view.dtype.bits = 32;
    view.dtype.lanes = 1;
    view.shape = shape;
    return view;
}

int main(void) {
    static float weights[ROWS * COLUMNS], decoded[ROWS * COLUMNS], input[COLUMNS], output[ROWS];
    const int64_t matrix[2] = {ROWS, COLUMNS}, vector_in[1] = {COLUMNS}, vector_out[1] = {ROWS};
    fourbit_tensor w = tensor(weights, matrix, 2), d = tensor(decoded, matrix, 2);
    fourbit_tensor x = tensor(input, vector_in, 1), y = tensor(output, vector_out, 1);
    fourbit_context* context = NULL;
    fourbit_quantizer* quantizer = NULL;
    fourbit_weight* weight = NULL;
    int wrong = 0;

    for (int i = 0; i < ROWS * COLUMNS; i++) {
        weights[i] = sinf((float)i);
    }
    for (int i = 0; i < COLUMNS; i++) {
        input[i] = cosf((float)i);
    }
    if (fourbit_abi_version() != FOURBIT_ABI_VERSION ||
        fourbit_version() !=
            FOURBIT_VERSION_MAJOR * 10000 + FOURBIT_VERSION_MINOR * 100 + FOURBIT_VERSION_PATCH) {
        fprintf(stderr, "header and library are of different versions\n");
        return 1;
    }
    if (failed("context", fourbit_context_create(NULL, &context)) ||
        failed("quantizer", fourbit_quantizer_create(context, NULL, &quantizer)) ||
        failed("quantize", fourbit_quantize(quantizer, &w, &weight)) ||
        failed("dequantize", fourbit_dequantize(context, weight, &d)) ||
        failed("gemm", fourbit_gemm(context, &x, weight, NULL, NULL, &y))) {
        return 1;
    }
    for (int row = 0; row < ROWS; row++) {
        double expected = 0;
        for (int i = 0; i < COLUMNS; i++) {
            expected += (double)decoded[row * COLUMNS + i] * (double)input[i];
            wrong += fabsf(decoded[row * COLUMNS + i] - weights[row * COLUMNS + i]) > 0.16f;
        }
        wrong += fabs(expected - (double)output[row]) > 1e-4;
    }
    fourbit_weight_destroy(weight);
    fourbit_quantizer_destroy(quantizer);
    fourbit_context_destroy(context);
    printf("%s: %d values are wrong\n", fourbit_build_info(), wrong);
    return wrong != 0;
}
