/* What the C tests share: checks that count failures, tensors in one line, random numbers. */
#ifndef FOURBIT_TESTS_CHECK_H
#define FOURBIT_TESTS_CHECK_H

#include <fourbit/fourbit.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_failures;

static inline int check_that(int holds, const char* what, const char* file, int line) {
    if (!holds) {
        printf("%s:%d: does not hold: %s\n", file, line, what);
        ++check_failures;
    }
    return holds;
}

static inline int check_status(fourbit_status status, fourbit_status expected, const char* words,
                               const char* what, const char* file, int line) {
    const char* said = fourbit_last_error();
    if (status != expected) {
        printf("%s:%d: %s, expected %s: %s (last error: %s)\n", file, line,
               fourbit_status_name(status), fourbit_status_name(expected), what, said);
        ++check_failures;
        return 0;
    }
    if (status != FOURBIT_STATUS_OK && (said[0] == '\0' || strstr(said, words) == NULL)) {
        printf("%s:%d: the error \"%s\" does not say \"%s\": %s\n", file, line, said, words, what);
        ++check_failures;
        return 0;
    }
    return 1;
}

/* An expression that must be true. */
#define CHECK(condition) check_that((condition) != 0, #condition, __FILE__, __LINE__)
/* A call that must succeed. */
#define OK(call) check_status((call), FOURBIT_STATUS_OK, "", #call, __FILE__, __LINE__)
/* A call that must fail with a status, and an error that says certain words. */
#define FAILS(status, words, call)                                                                 \
    check_status((call), FOURBIT_STATUS_##status, words, #call, __FILE__, __LINE__)
/* A call without which the rest of the test makes no sense. */
#define NEED(call)                                                                                 \
    do {                                                                                           \
        if (!OK(call)) {                                                                           \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static inline int check_result(void) {
    if (check_failures != 0) {
        printf("%d checks failed\n", check_failures);
    }
    return check_failures == 0 ? 0 : 1;
}

static const fourbit_dtype F32 = {FOURBIT_DTYPE_CODE_FLOAT, 32, 1};
static const fourbit_dtype F16 = {FOURBIT_DTYPE_CODE_FLOAT, 16, 1};
static const fourbit_dtype BF16 = {FOURBIT_DTYPE_CODE_BFLOAT, 16, 1};
static const fourbit_dtype U8 = {FOURBIT_DTYPE_CODE_UINT, 8, 1};
static const fourbit_dtype I32 = {FOURBIT_DTYPE_CODE_INT, 32, 1};

/* A compact tensor on the CPU; `shape` must outlive it. */
static inline fourbit_tensor tensor_of(void* data, fourbit_dtype dtype, int32_t ndim,
                                       const int64_t* shape) {
    fourbit_tensor tensor;
    memset(&tensor, 0, sizeof tensor);
    tensor.data = data;
    tensor.device.kind = FOURBIT_DEVICE_KIND_CPU;
    tensor.ndim = ndim;
    tensor.dtype = dtype;
    tensor.shape = shape;
    return tensor;
}

static inline void* allocate(size_t bytes) {
    void* memory = calloc(bytes == 0 ? 1 : bytes, 1);
    if (memory == NULL) {
        printf("out of memory\n");
        exit(1);
    }
    return memory;
}

static inline fourbit_context* new_context(uint32_t threads) {
    fourbit_context_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.num_threads = threads;
    fourbit_context* context = NULL;
    NEED(fourbit_context_create(&config, &context));
    return context;
}

static inline fourbit_quantizer* new_quantizer(const fourbit_context* context, uint32_t quant_type,
                                               uint32_t block_size, uint32_t double_quant) {
    fourbit_quant_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.quant_type = quant_type;
    config.block_size = block_size;
    config.double_quant = double_quant;
    fourbit_quantizer* quantizer = NULL;
    NEED(fourbit_quantizer_create(context, &config, &quantizer));
    return quantizer;
}

/* xorshift64*: the same numbers everywhere. */
static inline double random_unit(uint64_t* state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (double)((*state * 0x2545F4914F6CDD1DULL) >> 11) / 9007199254740992.0;
}

/* `count` numbers from -scale to scale. */
static inline float* random_floats(size_t count, double scale, uint64_t seed) {
    float* values = allocate(count * sizeof *values);
    uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
    for (size_t i = 0; i < count; ++i) {
        values[i] = (float)(scale * (2 * random_unit(&state) - 1));
    }
    return values;
}

/* A [n, k] weight, quantized from random numbers. */
static inline fourbit_weight* random_weight(const fourbit_quantizer* quantizer, int64_t n,
                                            int64_t k, uint64_t seed) {
    float* source = random_floats((size_t)(n * k), 0.1, seed);
    const int64_t shape[2] = {n, k};
    const fourbit_tensor tensor = tensor_of(source, F32, 2, shape);
    fourbit_weight* weight = NULL;
    NEED(fourbit_quantize(quantizer, &tensor, &weight));
    free(source);
    return weight;
}

/* A directory of the checkout, given as the program's argument. */
static inline const char* fixture(int argc, char** argv, char* buffer, size_t capacity) {
    if (argc < 2) {
        printf("usage: %s CHECKOUT\n", argv[0]);
        exit(2);
    }
    snprintf(buffer, capacity, "%s/tests/fixtures/tiny-llama", argv[1]);
    return buffer;
}

#endif
