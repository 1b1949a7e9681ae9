/* Compiled with the header beside it, which is that of an earlier version, and run with today's
 * library: every struct that grows is passed with its old size, every enumerator and constant with
 * its old number. Not changed when the header changes.
 *   program CHECKPOINT_DIR SCRATCH_DIR */
#include "fourbit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 48, K = 128 };

static void need(int holds, const char* what, int line) {
    if (!holds) {
        fprintf(stderr, "line %d: %s (last error: %s)\n", line, what, fourbit_last_error());
        exit(1);
    }
}
#define NEED(condition) need((condition) != 0, #condition, __LINE__)
#define OK(call) NEED((call) == FOURBIT_STATUS_OK)

static fourbit_context* context;
static fourbit_quantizer* quantizer;
static int calls, messages;

static fourbit_tensor view(float* data, int32_t ndim, const int64_t* shape) {
    fourbit_tensor tensor;
    memset(&tensor, 0, sizeof tensor);
    tensor.data = data;
    tensor.device.kind = FOURBIT_DEVICE_KIND_CPU;
    tensor.ndim = ndim;
    tensor.dtype.code = FOURBIT_DTYPE_CODE_FLOAT;
    tensor.dtype.bits = 32;
    tensor.dtype.lanes = 1;
    tensor.shape = shape;
    return tensor;
}

static void own_loop(void* user, size_t count, void (*task)(void*, size_t), void* data) {
    ++*(int*)user;
    for (size_t i = 0; i < count; ++i) {
        task(data, i);
    }
}

static void heard(void* user, uint32_t level, const char* text) {
    NEED(level >= FOURBIT_LOG_LEVEL_WARNING && level <= FOURBIT_LOG_LEVEL_DEBUG && text[0] != 0);
    ++*(int*)user;
}

static int32_t shown(void* user, const fourbit_progress* progress) {
    NEED(progress->struct_size >= sizeof *progress && progress->phase <= FOURBIT_PHASE_WRITE);
    NEED(progress->bytes_done <= progress->bytes_total && progress->tensor[0] != 0);
    ++*(int*)user;
    return 0;
}

static void make_objects(void) {
    fourbit_device_info device = {0};
    device.struct_size = sizeof device;
    const fourbit_device cpu = {FOURBIT_DEVICE_KIND_CPU, 0};
    OK(fourbit_device_query(cpu, &device));
    NEED(device.processors > 0 && device.memory_total > 0 && device.name[0] != 0);

    fourbit_context_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.num_threads = 3;
    config.device = cpu;
    config.cpu_isa_max = FOURBIT_CPU_ISA_PORTABLE;
    config.parallel_for = own_loop;
    config.parallel_for_user = &calls;
    OK(fourbit_context_create(&config, &context));
    uint32_t threads = 0;
    OK(fourbit_context_query(context, NULL, &threads));
    NEED(threads == 3);

    const char* skipped[] = {"lm_head"};
    fourbit_quant_config quant;
    memset(&quant, 0, sizeof quant);
    quant.struct_size = sizeof quant;
    quant.quant_type = FOURBIT_QUANT_TYPE_FP4;
    quant.block_size = 128;
    quant.double_quant = 1;
    quant.rule = FOURBIT_QUANT_RULE_BNB_CUDA;
    quant.skip_modules = skipped;
    quant.skip_module_count = 1;
    OK(fourbit_quantizer_create(context, &quant, &quantizer));
    fourbit_quantizer_info info = {0};
    info.struct_size = sizeof info;
    OK(fourbit_quantizer_query(quantizer, &info));
    NEED(info.quant_type == FOURBIT_QUANT_TYPE_FP4 && info.block_size == 128 && info.double_quant);
    NEED(info.rule == FOURBIT_QUANT_RULE_BNB_CUDA && info.is_serializable);
    NEED(info.bits_per_element > 4 && info.bits_per_element < 4.2);
}

static fourbit_weight* make_weight(const int64_t* shape, float* source) {
    for (int i = 0; i < N * K; ++i) {
        source[i] = sinf((float)i);
    }
    const fourbit_tensor tensor = view(source, 2, shape);
    fourbit_weight* weight = NULL;
    OK(fourbit_quantize(quantizer, &tensor, &weight));
    fourbit_weight_info info = {0};
    info.struct_size = sizeof info;
    OK(fourbit_weight_query(weight, &info));
    NEED(info.ndim == 2 && info.shape[0] == N && info.shape[1] == K && info.element_count == N * K);
    NEED(info.block_size == 128 && info.dtype.bits == 32 && info.storage.code == 1);
    fourbit_quant_error error = {0};
    error.struct_size = sizeof error;
    OK(fourbit_quant_measure(context, &tensor, weight, &error));
    NEED(error.count == N * K && error.rms_error > 0 && error.max_error < 0.2 && error.snr_db > 10);
    return weight;
}

static void multiply(const fourbit_weight* weight, const int64_t* shape) {
    static float decoded[N * K], input[K], output[N];
    fourbit_tensor w = view(decoded, 2, shape), x = view(input, 1, shape + 1),
                   y = view(output, 1, shape);
    for (int i = 0; i < K; ++i) {
        input[i] = cosf((float)i);
    }
    OK(fourbit_dequantize(context, weight, &w));
    fourbit_gemm_config config = {sizeof config, FOURBIT_GEMM_EXACT};
    OK(fourbit_gemm(context, &x, weight, NULL, &config, &y));
    config.flags = FOURBIT_GEMM_ACCUMULATE;
    OK(fourbit_gemm(context, &x, weight, NULL, &config, &y));
    for (int n = 0; n < N; ++n) {
        double expected = 0;
        for (int k = 0; k < K; ++k) {
            expected += 2.0 * (double)decoded[n * K + k] * (double)input[k];
        }
        NEED(fabs(expected - (double)output[n]) < 1e-4);
    }
    config.flags = FOURBIT_GEMM_TRANSPOSE;
    OK(fourbit_gemm(context, &y, weight, NULL, &config, &x));
}

static void rebuild(const fourbit_weight* weight) {
    const char* names[8];
    fourbit_tensor parts[8];
    size_t count = 0;
    OK(fourbit_weight_part_count(weight, &count));
    NEED(count == 6);
    for (size_t i = 0; i < count; ++i) {
        OK(fourbit_weight_part(weight, i, &names[i], &parts[i]));
    }
    fourbit_weight* again = NULL;
    OK(fourbit_weight_from_parts(context, names, parts, count, &again));
    fourbit_weight_destroy(again);
}

static void plan_and_convert(const char* model, const char* scratch) {
    fourbit_checkpoint* checkpoint = NULL;
    fourbit_plan* plan = NULL;
    OK(fourbit_checkpoint_open(model, &checkpoint));
    fourbit_plan_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.profile = FOURBIT_PLAN_PROFILE_V4;
    config.dtype.code = FOURBIT_DTYPE_CODE_BFLOAT;
    config.dtype.bits = 16;
    config.dtype.lanes = 1;
    config.experts = FOURBIT_PLAN_EXPERTS_AUTO;
    OK(fourbit_plan_create(quantizer, checkpoint, &config, &plan));
    fourbit_plan_totals totals = {0};
    totals.struct_size = sizeof totals;
    OK(fourbit_plan_summary(plan, &totals));
    NEED(totals.profile == FOURBIT_PLAN_PROFILE_V4 && totals.converted > 0 && totals.kept > 0);
    fourbit_plan_entry entry = {0};
    entry.struct_size = sizeof entry;
    OK(fourbit_plan_get(plan, 0, &entry));
    NEED(entry.name[0] != 0 && entry.reason[0] != 0 && entry.bytes_before > 0);

    fourbit_save_config save = {0};
    save.struct_size = sizeof save;
    save.force = 1;
    save.max_shard_size = 100000;
    int progress = 0;
    OK(fourbit_quantize_checkpoint(quantizer, checkpoint, plan, scratch, &save, shown, &progress));
    NEED(progress > 0);
    fourbit_plan_destroy(plan);
    fourbit_checkpoint_destroy(checkpoint);
}

static void read_back(const char* scratch) {
    fourbit_checkpoint* checkpoint = NULL;
    OK(fourbit_checkpoint_open(scratch, &checkpoint));
    size_t count = 0, weights = 0;
    OK(fourbit_checkpoint_len(checkpoint, &count));
    for (size_t i = 0; i < count; ++i) {
        fourbit_checkpoint_entry entry = {0};
        entry.struct_size = sizeof entry;
        OK(fourbit_checkpoint_get(checkpoint, i, &entry));
        NEED(entry.name[0] != 0 && entry.byte_size > 0);
        if (entry.kind == FOURBIT_CHECKPOINT_ENTRY_KIND_WEIGHT) {
            fourbit_weight* weight = NULL;
            OK(fourbit_checkpoint_weight(checkpoint, context, i, &weight));
            fourbit_weight_destroy(weight);
            ++weights;
        }
    }
    NEED(weights > 0);
    size_t index = 0;
    NEED(fourbit_checkpoint_find(checkpoint, "no such tensor", &index) == FOURBIT_STATUS_NOT_FOUND);
    fourbit_checkpoint_destroy(checkpoint);
}

int main(int argc, char** argv) {
    static float source[N * K];
    const int64_t shape[2] = {N, K};
    NEED(argc == 3);
    NEED(fourbit_abi_version() == FOURBIT_ABI_VERSION);
    OK(fourbit_set_log(heard, &messages, FOURBIT_LOG_LEVEL_DEBUG));
    make_objects();
    fourbit_weight* weight = make_weight(shape, source);
    multiply(weight, shape);
    rebuild(weight);
    plan_and_convert(argv[1], argv[2]);
    read_back(argv[2]);
    NEED(calls > 0 && messages > 0);
    OK(fourbit_set_log(NULL, NULL, 0));
    fourbit_weight_destroy(weight);
    fourbit_quantizer_destroy(quantizer);
    fourbit_context_destroy(context);
    return 0;
}
