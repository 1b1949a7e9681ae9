/* Which messages come, at which level, and that they do not flood. */
#include "check.h"

enum { MOST = 64, LENGTH = 512 };

typedef struct {
    int count;
    uint32_t levels[MOST];
    char texts[MOST][LENGTH];
} record;

static void keep(void* user, uint32_t level, const char* text) {
    record* heard = user;
    if (heard->count < MOST) {
        heard->levels[heard->count] = level;
        snprintf(heard->texts[heard->count], LENGTH, "%s", text);
    }
    ++heard->count;
}

/* How many messages of a level have these words. */
static int said(const record* heard, uint32_t level, const char* words) {
    int found = 0;
    for (int i = 0; i < heard->count && i < MOST; ++i) {
        found += heard->levels[i] == level && strstr(heard->texts[i], words) != NULL;
    }
    return found;
}

static void listen(record* heard, uint32_t level) {
    memset(heard, 0, sizeof *heard);
    OK(fourbit_set_log(keep, heard, level));
}

static void contexts(record* heard) {
    listen(heard, FOURBIT_LOG_LEVEL_INFO);
    fourbit_context_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.num_threads = 1;
    config.cpu_isa_max = FOURBIT_CPU_ISA_PORTABLE;
    fourbit_context* context = NULL;
    NEED(fourbit_context_create(&config, &context));
    CHECK(said(heard, FOURBIT_LOG_LEVEL_INFO, "kernels portable") == 1);
    CHECK(said(heard, FOURBIT_LOG_LEVEL_INFO, "1 threads") == 1 && heard->count == 1);
    fourbit_context_destroy(context);
    context = new_context(250);
    CHECK(said(heard, FOURBIT_LOG_LEVEL_WARNING, "250 threads for") == 1);
    fourbit_context_destroy(context);
}

static void conversions(record* heard, const char* model, uint32_t level) {
    fourbit_context* context = new_context(2);
    fourbit_quantizer* quantizer = new_quantizer(context, FOURBIT_QUANT_TYPE_NF4, 64, 1);
    fourbit_checkpoint* checkpoint = NULL;
    listen(heard, level);
    NEED(fourbit_checkpoint_open(model, &checkpoint));
    const char* skipped[] = {"no_such_module"};
    fourbit_plan_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.skip_modules = skipped;
    config.skip_module_count = 1;
    fourbit_plan* plan = NULL;
    NEED(fourbit_plan_create(quantizer, checkpoint, &config, &plan));
    fourbit_save_config save;
    memset(&save, 0, sizeof save);
    save.struct_size = sizeof save;
    save.force = 1;
    save.max_shard_size = 100000;
    OK(fourbit_quantize_checkpoint(quantizer, checkpoint, plan, "out", &save, NULL, NULL));
    OK(fourbit_set_log(NULL, NULL, FOURBIT_LOG_LEVEL_OFF));
    fourbit_plan_destroy(plan);
    fourbit_checkpoint_destroy(checkpoint);
    fourbit_quantizer_destroy(quantizer);
    fourbit_context_destroy(context);
}

static void every_level(record* heard, const char* model) {
    conversions(heard, model, FOURBIT_LOG_LEVEL_DEBUG);
    CHECK(said(heard, FOURBIT_LOG_LEVEL_INFO, "tiny-llama: opened: ") == 1);
    CHECK(said(heard, FOURBIT_LOG_LEVEL_INFO, "plan: llama") == 1);
    CHECK(said(heard, FOURBIT_LOG_LEVEL_WARNING, "\"no_such_module\" names no module") == 1);
    CHECK(said(heard, FOURBIT_LOG_LEVEL_DEBUG, "read twice") == 1);
    CHECK(said(heard, FOURBIT_LOG_LEVEL_DEBUG, ".safetensors: on disk") > 1);
    CHECK(said(heard, FOURBIT_LOG_LEVEL_INFO, "out: written: ") == 1);

    conversions(heard, model, FOURBIT_LOG_LEVEL_INFO);
    CHECK(said(heard, FOURBIT_LOG_LEVEL_DEBUG, "") == 0 && heard->count >= 4);
    conversions(heard, model, FOURBIT_LOG_LEVEL_WARNING);
    CHECK(said(heard, FOURBIT_LOG_LEVEL_WARNING, "") == heard->count && heard->count >= 1);
    conversions(heard, model, FOURBIT_LOG_LEVEL_OFF);
    CHECK(heard->count == 0);
}

/* A product of a transposed input says so, but not a thousand times; one of a compact input never.
 */
static void products(record* heard) {
    enum { N = 8, K = 64, M = 4 };
    fourbit_context* context = new_context(1);
    fourbit_quantizer* quantizer = new_quantizer(context, FOURBIT_QUANT_TYPE_NF4, 64, 0);
    fourbit_weight* weight = random_weight(quantizer, N, K, 1);
    float* input = random_floats(M * K, 1, 2);
    float output[M * N];
    const int64_t in[2] = {M, K}, out[2] = {M, N}, transposed[2] = {1, M};
    fourbit_tensor x = tensor_of(input, F32, 2, in), y = tensor_of(output, F32, 2, out);
    for (int round = 0; round < 2; ++round) {
        listen(heard, FOURBIT_LOG_LEVEL_DEBUG);
        x.strides = NULL;
        OK(fourbit_gemm(context, &x, weight, NULL, NULL, &y));
        CHECK(heard->count == 0);
        x.strides = transposed;
        for (int i = 0; i < 1000; ++i) {
            OK(fourbit_gemm(context, &x, weight, NULL, NULL, &y));
        }
        CHECK(heard->count >= 1 && heard->count <= 8);
        CHECK(said(heard, FOURBIT_LOG_LEVEL_WARNING, "is copied in every call") == heard->count);
        CHECK(said(heard, FOURBIT_LOG_LEVEL_WARNING, "no more messages") == 1);
    }
    OK(fourbit_set_log(NULL, NULL, FOURBIT_LOG_LEVEL_OFF));
    free(input);
    fourbit_weight_destroy(weight);
    fourbit_quantizer_destroy(quantizer);
    fourbit_context_destroy(context);
}

int main(int argc, char** argv) {
    static record heard;
    char path[4096];
    const char* model = fixture(argc, argv, path, sizeof path);
    contexts(&heard);
    OK(fourbit_set_log(NULL, NULL, FOURBIT_LOG_LEVEL_OFF));
    every_level(&heard, model);
    products(&heard);
    return check_result();
}
