/* Quantizes a tensor to NF4, looks at what came out, and decodes it again.
 *   quantize_tensor */
#include <fourbit/fourbit.h>

#include <stdio.h>
#include <stdlib.h>

/* Every call returns a status; the words are kept for the thread. */
static void need(fourbit_status status) {
    if (status == FOURBIT_STATUS_OK) {
        return;
    }
    fprintf(stderr, "%s: %s\n", fourbit_status_name(status), fourbit_last_error());
    exit(1);
}

int main(void) {
    enum { ROWS = 64, COLUMNS = 128 };
    static float source[ROWS * COLUMNS], decoded[ROWS * COLUMNS];
    for (int i = 0; i < ROWS * COLUMNS; ++i) {
        source[i] = (float)(i * 37 % 101) / 50 - 1;
    }

    /* A tensor is a view: pointer, dtype, shape. It has the layout of DLPack's DLTensor. */
    const int64_t shape[] = {ROWS, COLUMNS};
    fourbit_tensor tensor = {0};
    tensor.data = source;
    tensor.dtype = (fourbit_dtype){FOURBIT_DTYPE_CODE_FLOAT, 32, 1};
    tensor.ndim = 2;
    tensor.shape = shape;

    fourbit_context* context = NULL;
    need(fourbit_context_create(NULL, &context)); /* the CPU, all its processors */

    /* What a config leaves zero is the default: NF4, blocks of 64. */
    fourbit_quant_config config = {0};
    config.struct_size = sizeof config;
    config.double_quant = 1;
    fourbit_quantizer* quantizer = NULL;
    need(fourbit_quantizer_create(context, &config, &quantizer));
    fourbit_weight* weight = NULL;
    need(fourbit_quantize(quantizer, &tensor, &weight));

    /* Its parts have the names, dtypes and bytes that bitsandbytes gives them. */
    size_t count = 0;
    need(fourbit_weight_part_count(weight, &count));
    for (size_t i = 0; i < count; ++i) {
        const char* name = NULL;
        fourbit_tensor part;
        need(fourbit_weight_part(weight, i, &name, &part));
        printf("%-30s %6lld elements of %d bits\n", name[0] ? name : "(packed codes)",
               (long long)part.shape[0], part.dtype.bits);
    }

    fourbit_quant_error error = {0};
    error.struct_size = sizeof error;
    need(fourbit_quant_measure(context, &tensor, weight, &error));
    printf("off by %.4f at most, %.1f dB signal to noise\n", error.max_error, error.snr_db);
    tensor.data = decoded;
    need(fourbit_dequantize(context, weight, &tensor));
    printf("%.4f became %.4f\n", (double)source[1], (double)decoded[1]);

    fourbit_weight_destroy(weight); /* in any order */
    fourbit_quantizer_destroy(quantizer);
    fourbit_context_destroy(context);
    return 0;
}
