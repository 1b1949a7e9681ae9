/* A planned model in memory: weights and tensors by name, quantized here or before, on the disk. */
#include "check.h"

#include <stddef.h>

static fourbit_context* context;
static fourbit_quantizer* quantizer;
static fourbit_checkpoint* source;

static const char* const kUp = "model.layers.2.mlp.up_proj.weight";
static const char* const kNorm = "model.norm.weight";

static const fourbit_dtype kOwn = {0, 0, 0};

/* Sizes and places that programs are compiled against. */
_Static_assert(sizeof(fourbit_load_config) == 16, "size");
_Static_assert(offsetof(fourbit_load_config, max_memory) == 8, "place");
_Static_assert(sizeof(fourbit_model_entry) == 40 + 8 * FOURBIT_MAX_RANK, "size");
_Static_assert(offsetof(fourbit_model_entry, name) == 8, "place");
_Static_assert(offsetof(fourbit_model_entry, dtype) == 16, "place");
_Static_assert(offsetof(fourbit_model_entry, ndim) == 20, "place");
_Static_assert(offsetof(fourbit_model_entry, shape) == 24, "place");
_Static_assert(offsetof(fourbit_model_entry, byte_size) == 24 + 8 * FOURBIT_MAX_RANK, "place");
_Static_assert(offsetof(fourbit_model_entry, device) == 32 + 8 * FOURBIT_MAX_RANK, "place");

static fourbit_plan* new_plan(fourbit_dtype dtype, const char* device_map) {
    fourbit_plan_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.profile = FOURBIT_PLAN_PROFILE_V4;
    config.dtype = dtype;
    config.device_map = device_map;
    config.offload = device_map != NULL;
    fourbit_plan* plan = NULL;
    NEED(fourbit_plan_create(quantizer, source, &config, &plan));
    return plan;
}

static fourbit_model* load(const fourbit_checkpoint* checkpoint, const fourbit_plan* plan) {
    fourbit_model* model = NULL;
    NEED(fourbit_model_load(quantizer, checkpoint, plan, NULL, NULL, NULL, &model));
    return model;
}

static fourbit_model_entry entry_of(const fourbit_model* model, size_t index) {
    fourbit_model_entry entry;
    memset(&entry, 0, sizeof entry);
    entry.struct_size = sizeof entry;
    NEED(fourbit_model_get(model, index, &entry));
    return entry;
}

static size_t count_of(const fourbit_model* model, uint32_t kind) {
    size_t all = 0;
    size_t count = 0;
    NEED(fourbit_model_len(model, &all));
    for (size_t i = 0; i < all; ++i) {
        const fourbit_model_entry entry = entry_of(model, i);
        size_t found = 0;
        NEED(fourbit_model_find(model, entry.name, &found));
        CHECK(found == i);
        count += entry.kind == kind;
    }
    return count;
}

static int same_weights(const fourbit_weight* a, const fourbit_weight* b) {
    size_t size = 0;
    size_t other = 0;
    NEED(fourbit_weight_serialize(a, NULL, 0, &size));
    NEED(fourbit_weight_serialize(b, NULL, 0, &other));
    uint8_t* x = allocate(size);
    uint8_t* y = allocate(other);
    NEED(fourbit_weight_serialize(a, x, size, &size));
    NEED(fourbit_weight_serialize(b, y, other, &other));
    const int same = size == other && memcmp(x, y, size) == 0;
    free(x);
    free(y);
    return same;
}

static fourbit_weight* quantized_alone(void) {
    size_t index = 0;
    fourbit_tensor view;
    fourbit_weight* weight = NULL;
    NEED(fourbit_checkpoint_find(source, kUp, &index));
    NEED(fourbit_checkpoint_tensor(source, index, &view));
    NEED(fourbit_quantize(quantizer, &view, &weight));
    return weight;
}

typedef struct {
    int calls;
    int strange;
    uint64_t done;
    uint64_t total;
    int cancel_at;
} watcher;

static int32_t watch(void* user, const fourbit_progress* progress) {
    watcher* seen = user;
    ++seen->calls;
    seen->strange += progress->tensor == NULL || progress->phase != FOURBIT_PHASE_LOAD ||
                     progress->bytes_done < seen->done;
    seen->done = progress->bytes_done;
    seen->total = progress->bytes_total;
    return seen->calls == seen->cancel_at;
}

/* By the automatic plan; the weight lives on after the model and everything it came from. */
static void automatic(void) {
    watcher seen = {0, 0, 0, 0, 0};
    fourbit_model* model = NULL;
    NEED(fourbit_model_load(quantizer, source, NULL, NULL, watch, &seen, &model));
    CHECK(seen.calls > 0 && seen.strange == 0 && seen.done == seen.total);
    CHECK(count_of(model, FOURBIT_CHECKPOINT_ENTRY_KIND_WEIGHT) == 35);
    CHECK(count_of(model, FOURBIT_CHECKPOINT_ENTRY_KIND_TENSOR) == 13);

    fourbit_weight* weight = NULL;
    NEED(fourbit_model_weight(model, kUp, &weight));
    fourbit_tensor view;
    NEED(fourbit_model_tensor(model, kNorm, &view));
    CHECK(view.ndim == 1 && view.shape[0] == 128 && view.dtype.bits == 16);
    /* Stored as it is wanted: the file itself, not a copy. */
    size_t index = 0;
    fourbit_tensor mapped;
    NEED(fourbit_checkpoint_find(source, kNorm, &index));
    NEED(fourbit_checkpoint_tensor(source, index, &mapped));
    CHECK(view.data == mapped.data);

    FAILS(INVALID_ARGUMENT, "as a weight", fourbit_model_tensor(model, kUp, &view));
    fourbit_weight* none = NULL;
    FAILS(INVALID_ARGUMENT, "as a tensor", fourbit_model_weight(model, kNorm, &none));
    FAILS(NOT_FOUND, "nothing", fourbit_model_weight(model, "nothing", &none));
    FAILS(NOT_FOUND, "nothing", fourbit_model_tensor(model, "nothing", &view));
    FAILS(NOT_FOUND, "nothing", fourbit_model_find(model, "nothing", &index));
    FAILS(NOT_FOUND, "48", fourbit_model_get(model, 48, NULL));
    CHECK(none == NULL);

    fourbit_model_destroy(model);
    FAILS(INVALID_HANDLE, "fourbit_model", fourbit_model_len(model, &index));
    fourbit_weight* alone = quantized_alone();
    CHECK(same_weights(weight, alone));
    fourbit_weight_destroy(weight);
    fourbit_weight_destroy(alone);
}

/* A checkpoint that is quantized already: its weights as they are stored. */
static void quantized_before(void) {
    OK(fourbit_quantize_checkpoint(quantizer, source, NULL, "small", NULL, NULL, NULL));
    fourbit_checkpoint* small = NULL;
    NEED(fourbit_checkpoint_open("small", &small));
    fourbit_load_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.max_memory = 1;
    fourbit_model* model = NULL;
    NEED(fourbit_model_load(quantizer, small, NULL, &config, NULL, NULL, &model));
    CHECK(count_of(model, FOURBIT_CHECKPOINT_ENTRY_KIND_WEIGHT) == 35);
    fourbit_weight* weight = NULL;
    fourbit_weight* stored = NULL;
    size_t index = 0;
    NEED(fourbit_model_weight(model, kUp, &weight));
    NEED(fourbit_checkpoint_find(small, kUp, &index));
    NEED(fourbit_checkpoint_weight(small, context, index, &stored));
    fourbit_tensor a;
    fourbit_tensor b;
    NEED(fourbit_weight_part(weight, 0, NULL, &a));
    NEED(fourbit_weight_part(stored, 0, NULL, &b));
    CHECK(a.data == b.data && same_weights(weight, stored));
    fourbit_weight_destroy(stored);
    fourbit_checkpoint_destroy(small);
    fourbit_model_destroy(model);
    fourbit_weight* alone = quantized_alone();
    CHECK(same_weights(weight, alone));
    fourbit_weight_destroy(weight);
    fourbit_weight_destroy(alone);
}

/* Another load dtype: tensors are cast, here and there. */
static void cast_and_on_disk(void) {
    fourbit_plan* plan = new_plan(F32, "{\"\": \"disk\", \"model.layers.0\": \"cpu\"}");
    fourbit_load_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.max_memory = 1;
    fourbit_model* model = NULL;
    FAILS(OUT_OF_MEMORY, "max_memory is 1",
          fourbit_model_load(quantizer, source, plan, &config, NULL, NULL, &model));
    config.max_memory = 0;
    config.reserved = 1;
    FAILS(INVALID_ARGUMENT, "reserved",
          fourbit_model_load(quantizer, source, plan, &config, NULL, NULL, &model));
    CHECK(model == NULL);
    model = load(source, plan);
    fourbit_plan_destroy(plan);
    size_t index = 0;
    NEED(fourbit_model_find(model, kNorm, &index));
    CHECK(strcmp(entry_of(model, index).device, "disk") == 0);
    CHECK(entry_of(model, index).byte_size == 512);
    fourbit_tensor view;
    FAILS(INVALID_STATE, kNorm, fourbit_model_tensor(model, kNorm, &view));
    NEED(fourbit_model_tensor(model, "model.layers.0.input_layernorm.weight", &view));
    CHECK(view.dtype.bits == 32 && view.shape[0] == 128);
    float values[128];
    const int64_t shape[1] = {128};
    fourbit_tensor own = tensor_of(values, F32, 1, shape);
    OK(fourbit_model_read(model, kNorm, &own));
    fourbit_tensor stored;
    NEED(fourbit_checkpoint_find(source, kNorm, &index));
    NEED(fourbit_checkpoint_tensor(source, index, &stored));
    for (size_t i = 0; i < 128; ++i) {
        const uint32_t bits = (uint32_t)((const uint16_t*)stored.data)[i] << 16;
        float expected;
        memcpy(&expected, &bits, 4);
        CHECK(values[i] == expected);
    }
    own.dtype = BF16;
    FAILS(DTYPE_UNSUPPORTED, kNorm, fourbit_model_read(model, kNorm, &own));
    const int64_t short_shape[1] = {64};
    own = tensor_of(values, F32, 1, short_shape);
    FAILS(SHAPE_MISMATCH, kNorm, fourbit_model_read(model, kNorm, &own));
    fourbit_model_destroy(model);

    plan = new_plan(kOwn, "{\"model\": 0, \"lm_head\": \"cpu\"}");
    model = NULL;
    FAILS(DEVICE_UNAVAILABLE, "planned on device 0",
          fourbit_model_load(quantizer, source, plan, NULL, NULL, NULL, &model));
    CHECK(model == NULL);
    fourbit_plan_destroy(plan);
}

static void cancelled(void) {
    watcher all = {0, 0, 0, 0, 0};
    fourbit_model* model = NULL;
    NEED(fourbit_model_load(quantizer, source, NULL, NULL, watch, &all, &model));
    fourbit_model_destroy(model);
    model = NULL;
    for (int at = 1; at <= all.calls; ++at) {
        watcher seen = {0, 0, 0, 0, at};
        FAILS(CANCELLED, "",
              fourbit_model_load(quantizer, source, NULL, NULL, watch, &seen, &model));
        CHECK(seen.calls == at && model == NULL);
    }
}

/* Three dimensions: every matrix alone, in both ways to multiply, by a grouped product. */
static void experts(uint32_t double_quant) {
    enum { kExperts = 3, kOut = 48, kIn = 64, kRows = 6 };
    fourbit_quantizer* with = new_quantizer(context, FOURBIT_QUANT_TYPE_NF4, 64, double_quant);
    float* values = random_floats(kExperts * kOut * kIn, 0.1, 5);
    const int64_t shape[3] = {kExperts, kOut, kIn};
    const fourbit_tensor fused = tensor_of(values, F32, 3, shape);
    fourbit_weight* weight = NULL;
    NEED(fourbit_quantize(with, &fused, &weight));
    NEED(fourbit_dequantize(context, weight, &fused));
    fourbit_weight* each[kExperts] = {NULL, NULL, NULL};
    for (uint64_t e = 0; e < kExperts; ++e) {
        NEED(fourbit_weight_expert(weight, e, &each[e]));
    }
    fourbit_weight* none = NULL;
    FAILS(INVALID_ARGUMENT, "the weight has 3", fourbit_weight_expert(weight, 3, &none));
    FAILS(SHAPE_MISMATCH, "three dimensions", fourbit_weight_expert(each[0], 0, &none));
    fourbit_weight_destroy(weight); /* The matrices live on. */

    const int64_t offsets[kExperts + 1] = {0, 1, 1, kRows};
    for (int transpose = 0; transpose < 2; ++transpose) {
        const int64_t inner = transpose ? kOut : kIn;
        const int64_t outer = transpose ? kIn : kOut;
        const int64_t input_shape[2] = {kRows, inner};
        const int64_t output_shape[2] = {kRows, outer};
        float* input = random_floats((size_t)(kRows * inner), 1, 6);
        float* output = allocate((size_t)(kRows * outer) * sizeof *output);
        const fourbit_tensor x = tensor_of(input, F32, 2, input_shape);
        const fourbit_tensor y = tensor_of(output, F32, 2, output_shape);
        const fourbit_gemm_config config = {sizeof config, transpose ? FOURBIT_GEMM_TRANSPOSE : 0U};
        OK(fourbit_grouped_gemm(context, &x, offsets, (const fourbit_weight* const*)each, kExperts,
                                &config, &y));
        for (int64_t row = 0; row < kRows; ++row) {
            const float* matrix = values + (row < 1 ? 0 : 2) * kOut * kIn;
            for (int64_t j = 0; j < outer; ++j) {
                double sum = 0;
                for (int64_t i = 0; i < inner; ++i) {
                    const double w = matrix[transpose ? i * kIn + j : j * kIn + i];
                    sum += w * input[row * inner + i];
                }
                const double difference = sum - output[row * outer + j];
                CHECK(difference < 1e-5 && difference > -1e-5);
            }
        }
        free(input);
        free(output);
    }
    for (size_t e = 0; e < kExperts; ++e) {
        fourbit_weight_destroy(each[e]);
    }
    const int64_t odd[3] = {4, 5, 7};
    const fourbit_tensor shared_blocks = tensor_of(values, F32, 3, odd);
    NEED(fourbit_quantize(with, &shared_blocks, &weight));
    FAILS(SHAPE_MISMATCH, "whole blocks of 64", fourbit_weight_expert(weight, 1, &none));
    fourbit_weight_destroy(weight);
    free(values);
    fourbit_quantizer_destroy(with);
}

int main(int argc, char** argv) {
    char path[4096];
    context = new_context(2);
    quantizer = new_quantizer(context, FOURBIT_QUANT_TYPE_NF4, 64, 1);
    NEED(fourbit_checkpoint_open(fixture(argc, argv, path, sizeof path), &source));
    automatic();
    quantized_before();
    cast_and_on_disk();
    cancelled();
    experts(0);
    experts(1);
    fourbit_checkpoint_destroy(source);
    fourbit_quantizer_destroy(quantizer);
    fourbit_context_destroy(context);
    return check_result();
}
