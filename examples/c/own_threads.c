/* Runs the library on threads of one's own, as an engine with a thread pool would: the library then
 * starts none. Results have the same bits.
 *   own_threads */
#include <fourbit/fourbit.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 3, N = 512, K = 1024 };

static void need(fourbit_status status) {
    if (status == FOURBIT_STATUS_OK) {
        return;
    }
    fprintf(stderr, "%s: %s\n", fourbit_status_name(status), fourbit_last_error());
    exit(1);
}

typedef struct {
    void (*task)(void* data, size_t index);
    void* data;
    size_t first, count;
} share;

static void* work(void* argument) {
    const share* mine = argument;
    for (size_t i = mine->first; i < mine->count; i += THREADS) {
        mine->task(mine->data, i);
    }
    return NULL;
}

/* Calls task(data, i) for every i below count and returns when all have returned. A real engine
 * asks its pool; this one starts threads each time. */
static void run(void* user, size_t count, void (*task)(void*, size_t), void* data) {
    ++*(size_t*)user;
    pthread_t threads[THREADS];
    share shares[THREADS];
    for (size_t t = 0; t < THREADS; ++t) {
        shares[t] = (share){task, data, t, count};
        if (pthread_create(&threads[t], NULL, work, &shares[t]) != 0) {
            abort();
        }
    }
    for (size_t t = 0; t < THREADS; ++t) {
        pthread_join(threads[t], NULL);
    }
}

/* A product with a quantized matrix, on a context made as the config says. */
static void multiply(const fourbit_context_config* config, float* output) {
    static float matrix[N * K], input[K];
    for (int i = 0; i < N * K; ++i) {
        matrix[i] = (float)(i * 31 % 97) / 48 - 1;
    }
    for (int i = 0; i < K; ++i) {
        input[i] = (float)(i % 13) / 6 - 1;
    }
    const int64_t n = N, k = K, shape[] = {N, K};
    const fourbit_dtype f32 = {FOURBIT_DTYPE_CODE_FLOAT, 32, 1};
    const fourbit_tensor w = {.data = matrix, .ndim = 2, .dtype = f32, .shape = shape};
    const fourbit_tensor x = {.data = input, .ndim = 1, .dtype = f32, .shape = &k};
    const fourbit_tensor y = {.data = output, .ndim = 1, .dtype = f32, .shape = &n};
    fourbit_context* context = NULL;
    fourbit_quantizer* quantizer = NULL;
    fourbit_weight* weight = NULL;
    need(fourbit_context_create(config, &context));
    need(fourbit_quantizer_create(context, NULL, &quantizer));
    need(fourbit_quantize(quantizer, &w, &weight));
    need(fourbit_gemm(context, &x, weight, NULL, NULL, &y));
    fourbit_weight_destroy(weight);
    fourbit_quantizer_destroy(quantizer);
    fourbit_context_destroy(context);
}

int main(void) {
    static float expected[N], found[N];
    size_t loops = 0;
    multiply(NULL, expected); /* the library's threads */
    fourbit_context_config config = {0};
    config.struct_size = sizeof config;
    config.num_threads = THREADS; /* what work is divided for */
    config.parallel_for = run;
    config.parallel_for_user = &loops;
    multiply(&config, found);
    const int same = memcmp(expected, found, sizeof found) == 0;
    printf("%zu loops on %d threads of this program: %s bits\n", loops, THREADS,
           same ? "the same" : "OTHER");
    return same ? 0 : 1;
}
