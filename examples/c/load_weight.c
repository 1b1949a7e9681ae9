/* Opens a 4-bit checkpoint (of bitsandbytes or of fourbit), takes a weight from it without copying,
 * and multiplies.
 *   load_weight CHECKPOINT [NAME]      NAME: the first quantized weight, if left out */
#include <fourbit/fourbit.h>

#include <stdio.h>
#include <stdlib.h>

static void need(fourbit_status status) {
    if (status == FOURBIT_STATUS_OK) {
        return;
    }
    fprintf(stderr, "%s: %s\n", fourbit_status_name(status), fourbit_last_error());
    exit(1);
}

/* The index of an entry, by name or the first that is quantized. */
static size_t find(const fourbit_checkpoint* checkpoint, const char* name) {
    size_t index = 0;
    if (name != NULL) {
        need(fourbit_checkpoint_find(checkpoint, name, &index));
        return index;
    }
    fourbit_checkpoint_entry entry = {0};
    entry.struct_size = sizeof entry;
    for (;; ++index) {
        need(fourbit_checkpoint_get(checkpoint, index, &entry)); /* "not found" after the last */
        if (entry.kind == FOURBIT_CHECKPOINT_ENTRY_KIND_WEIGHT) {
            printf("%s\n", entry.name);
            return index;
        }
    }
}

int main(int argc, char** argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s CHECKPOINT [NAME]\n", argv[0]);
        return 2;
    }
    fourbit_context* context = NULL;
    fourbit_checkpoint* checkpoint = NULL;
    fourbit_weight* weight = NULL;
    need(fourbit_context_create(NULL, &context));
    need(fourbit_checkpoint_open(argv[1], &checkpoint));
    need(fourbit_checkpoint_weight(checkpoint, context, find(checkpoint, argv[2]), &weight));
    fourbit_checkpoint_destroy(checkpoint); /* the weight keeps what it needs */

    fourbit_weight_info info = {0};
    info.struct_size = sizeof info;
    need(fourbit_weight_query(weight, &info));
    const int64_t n = info.shape[0], k = info.shape[1];
    printf("[%lld, %lld] in %llu bytes, %s\n", (long long)n, (long long)k,
           (unsigned long long)info.byte_size,
           info.quant_type == FOURBIT_QUANT_TYPE_NF4 ? "NF4" : "FP4");

    /* output[n] = weight[n, k] · input[k] */
    float* input = malloc((size_t)k * sizeof *input);
    float* output = malloc((size_t)n * sizeof *output);
    if (input == NULL || output == NULL) {
        return 1;
    }
    for (int64_t i = 0; i < k; ++i) {
        input[i] = 1;
    }
    fourbit_tensor x = {0}, y = {0};
    x.dtype = y.dtype = (fourbit_dtype){FOURBIT_DTYPE_CODE_FLOAT, 32, 1};
    x.ndim = y.ndim = 1;
    x.data = input;
    x.shape = &k;
    y.data = output;
    y.shape = &n;
    need(fourbit_gemm(context, &x, weight, NULL, NULL, &y));
    printf("row sums: %g, %g, ..., %g\n", (double)output[0], (double)output[1],
           (double)output[n - 1]);

    free(input);
    free(output);
    fourbit_weight_destroy(weight);
    fourbit_context_destroy(context);
    return 0;
}
