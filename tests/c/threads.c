/* Threads: the same bits on any number of them, the caller's own, many callers at once, errors that
 * stay on their thread, messages. */
#include "check.h"

#include <pthread.h>

enum { M = 19, N = 200, K = 576 };

typedef void (*task_fn)(void* data, size_t index);

/* Ways to run a loop that all obey the contract. */
static void in_order(void* user, size_t count, task_fn task, void* data) {
    ++*(int*)user;
    for (size_t i = 0; i < count; ++i) {
        task(data, i);
    }
}

static void backwards(void* user, size_t count, task_fn task, void* data) {
    ++*(int*)user;
    for (size_t i = count; i > 0; --i) {
        task(data, i - 1);
    }
}

typedef struct {
    task_fn task;
    void* data;
    size_t first, count;
} share;

static void* run_share(void* argument) {
    const share* part = argument;
    for (size_t i = part->first; i < part->count; i += 3) {
        part->task(part->data, i);
    }
    return NULL;
}

static void on_three_threads(void* user, size_t count, task_fn task, void* data) {
    ++*(int*)user;
    pthread_t threads[3];
    share parts[3];
    for (size_t t = 0; t < 3; ++t) {
        const share part = {task, data, t, count};
        parts[t] = part;
        CHECK(pthread_create(&threads[t], NULL, run_share, &parts[t]) == 0);
    }
    for (size_t t = 0; t < 3; ++t) {
        pthread_join(threads[t], NULL);
    }
}

/* And two that do not: nothing is spoilt by a task too many or too few. */
static void forgetful(void* user, size_t count, task_fn task, void* data) {
    ++*(int*)user;
    if (count > 1) {
        task(data, 0);
    }
}

static void repeating(void* user, size_t count, task_fn task, void* data) {
    ++*(int*)user;
    for (size_t i = 0; i < 2 * count; ++i) {
        task(data, i % count);
    }
}

static fourbit_context* with_loop(uint32_t threads, fourbit_parallel_for_fn loop, int* calls) {
    fourbit_context_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.num_threads = threads;
    config.parallel_for = loop;
    config.parallel_for_user = calls;
    fourbit_context* context = NULL;
    NEED(fourbit_context_create(&config, &context));
    return context;
}

typedef struct {
    float output[M * N];
    float gradient[M * K];
    float decoded[N * K];
    uint8_t image[N * K];
    size_t image_size;
} results;

/* One of everything that runs in parallel. */
static void compute(const fourbit_context* context, const float* source, const float* input,
                    results* out) {
    const int64_t weight_shape[2] = {N, K};
    const int64_t input_shape[2] = {M, K};
    const int64_t output_shape[2] = {M, N};
    const fourbit_tensor from = tensor_of((void*)(uintptr_t)source, F32, 2, weight_shape);
    const fourbit_tensor x = tensor_of((void*)(uintptr_t)input, F32, 2, input_shape);
    const fourbit_tensor y = tensor_of(out->output, F32, 2, output_shape);
    const fourbit_tensor gradient = tensor_of(out->gradient, F32, 2, input_shape);
    const fourbit_tensor decoded = tensor_of(out->decoded, F32, 2, weight_shape);
    const fourbit_gemm_config transpose = {sizeof transpose, FOURBIT_GEMM_TRANSPOSE};
    fourbit_quantizer* quantizer = new_quantizer(context, FOURBIT_QUANT_TYPE_NF4, 64, 1);
    fourbit_weight* weight = NULL;
    NEED(fourbit_quantize(quantizer, &from, &weight));
    NEED(fourbit_gemm(context, &x, weight, NULL, NULL, &y));
    NEED(fourbit_gemm(context, &y, weight, NULL, &transpose, &gradient));
    NEED(fourbit_dequantize(context, weight, &decoded));
    NEED(fourbit_weight_serialize(weight, out->image, sizeof out->image, &out->image_size));
    fourbit_weight_destroy(weight);
    fourbit_quantizer_destroy(quantizer);
}

static int same(const results* a, const results* b) {
    return memcmp(a->output, b->output, sizeof a->output) == 0 &&
           memcmp(a->gradient, b->gradient, sizeof a->gradient) == 0 &&
           memcmp(a->decoded, b->decoded, sizeof a->decoded) == 0 &&
           a->image_size == b->image_size && memcmp(a->image, b->image, a->image_size) == 0;
}

static float* source;
static float* input;
static results expected;

static void any_number(void) {
    results* found = allocate(sizeof *found);
    for (uint32_t threads = 1; threads <= 9; threads += 2) {
        fourbit_context* context = new_context(threads);
        uint32_t said = 0;
        OK(fourbit_context_query(context, NULL, &said));
        CHECK(said == threads);
        compute(context, source, input, found);
        CHECK(same(found, &expected));
        fourbit_context_destroy(context);
    }
    free(found);
}

static void own_loops(void) {
    const fourbit_parallel_for_fn loops[] = {in_order, backwards, on_three_threads, forgetful,
                                             repeating};
    results* found = allocate(sizeof *found);
    for (size_t i = 0; i < sizeof loops / sizeof *loops; ++i) {
        int calls = 0;
        fourbit_context* context = with_loop(4, loops[i], &calls);
        compute(context, source, input, found);
        CHECK(same(found, &expected));
        CHECK(calls > 0);
        fourbit_context_destroy(context);
    }
    free(found);
}

static fourbit_context* shared_context;

static void* compute_here(void* argument) {
    results* found = argument;
    for (int i = 0; i < 3; ++i) {
        compute(shared_context, source, input, found);
    }
    /* An error of this thread, and of no other. */
    fourbit_weight* out = NULL;
    const int failed =
        fourbit_weight_deserialize(shared_context, NULL, 0, &out) != FOURBIT_STATUS_OK;
    return failed && fourbit_last_error()[0] != '\0' ? NULL : found;
}

static void many_callers(void) {
    enum { CALLERS = 4 };
    pthread_t threads[CALLERS];
    results* found = allocate(CALLERS * sizeof *found);
    shared_context = new_context(2);
    uint32_t count = 0;
    FAILS(INVALID_ARGUMENT, "kind is 55", fourbit_device_count(55, &count));
    for (size_t i = 0; i < CALLERS; ++i) {
        CHECK(pthread_create(&threads[i], NULL, compute_here, &found[i]) == 0);
    }
    for (size_t i = 0; i < CALLERS; ++i) {
        void* failed = NULL;
        pthread_join(threads[i], &failed);
        CHECK(failed == NULL);
        CHECK(same(&found[i], &expected));
    }
    CHECK(strstr(fourbit_last_error(), "kind is 55") != NULL);
    fourbit_context_destroy(shared_context);
    free(found);
}

static void* last_error_here(void* argument) {
    return fourbit_last_error()[0] == '\0' ? NULL : argument;
}

/* A thread that has seen no failure has no words. */
static void fresh_thread(void) {
    pthread_t thread;
    void* failed = NULL;
    int something = 0;
    CHECK(pthread_create(&thread, NULL, last_error_here, &something) == 0);
    pthread_join(thread, &failed);
    CHECK(failed == NULL);
}

typedef struct {
    int messages;
    uint32_t highest;
} listener;

static void listen(void* user, uint32_t level, const char* text) {
    listener* heard = user;
    ++heard->messages;
    heard->highest = level > heard->highest ? level : heard->highest;
    CHECK(text[0] != '\0');
}

static void messages(void) {
    listener heard = {0, 0};
    OK(fourbit_set_log(listen, &heard, FOURBIT_LOG_LEVEL_INFO));
    fourbit_context_destroy(new_context(2));
    OK(fourbit_set_log(NULL, NULL, FOURBIT_LOG_LEVEL_OFF));
    CHECK(heard.messages > 0 && heard.highest <= FOURBIT_LOG_LEVEL_INFO);
    const int before = heard.messages;
    fourbit_context_destroy(new_context(2));
    CHECK(heard.messages == before);
}

int main(void) {
    source = random_floats((size_t)N * K, 0.1, 1);
    input = random_floats((size_t)M * K, 1, 2);
    fourbit_context* context = new_context(2);
    compute(context, source, input, &expected);
    fourbit_context_destroy(context);
    any_number();
    own_loops();
    many_callers();
    fresh_thread();
    messages();
    free(source);
    free(input);
    return check_result();
}
