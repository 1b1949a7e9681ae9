/* NULL for every pointer of every function, one at a time: a status where it is required, success
 * where it is allowed; wrong and destroyed handles; destroying NULL. */
#include "check.h"

static fourbit_context* context;
static fourbit_quantizer* quantizer;
static fourbit_weight* weight;
static fourbit_checkpoint* checkpoint;
static fourbit_plan* plan;
static fourbit_model* model;
static fourbit_writer* writer;

static float elements[8 * 64];
static const int64_t kShape[2] = {8, 64};
static const int64_t kInput[1] = {64};
static const int64_t kOutput[1] = {8};

/* A call with a NULL that is not allowed. */
#define NULL_FAILS(call) FAILS(INVALID_ARGUMENT, "must not be NULL", call)

static void processes(void) {
    NULL_FAILS(fourbit_device_count(FOURBIT_DEVICE_KIND_CPU, NULL));
    const fourbit_device cpu = {FOURBIT_DEVICE_KIND_CPU, 0};
    NULL_FAILS(fourbit_device_query(cpu, NULL));
    OK(fourbit_set_log(NULL, NULL, FOURBIT_LOG_LEVEL_DEBUG));
}

static void contexts(void) {
    fourbit_context* made = NULL;
    NULL_FAILS(fourbit_context_create(NULL, NULL));
    OK(fourbit_context_create(NULL, &made));
    fourbit_context_destroy(made);
    fourbit_context_destroy(NULL);
    NULL_FAILS(fourbit_context_query(NULL, NULL, NULL));
    OK(fourbit_context_query(context, NULL, NULL));
    NULL_FAILS(fourbit_context_synchronize(NULL));
    void* memory = NULL;
    NULL_FAILS(fourbit_memory_alloc(NULL, 1, &memory));
    NULL_FAILS(fourbit_memory_alloc(context, 1, NULL));
    fourbit_memory_free(context, NULL);
    const fourbit_tensor tensor = tensor_of(elements, F32, 2, kShape);
    NULL_FAILS(fourbit_tensor_copy(NULL, &tensor, &tensor));
    NULL_FAILS(fourbit_tensor_copy(context, NULL, &tensor));
    NULL_FAILS(fourbit_tensor_copy(context, &tensor, NULL));
}

static void quantizers(void) {
    fourbit_quantizer* made = NULL;
    size_t length = 0;
    uint64_t bytes = 0;
    NULL_FAILS(fourbit_quantizer_create(NULL, NULL, &made));
    NULL_FAILS(fourbit_quantizer_create(context, NULL, NULL));
    OK(fourbit_quantizer_create(context, NULL, &made));
    fourbit_quantizer_destroy(made);
    fourbit_quantizer_destroy(NULL);
    NULL_FAILS(fourbit_quantizer_from_json(NULL, "{}", 2, &made));
    NULL_FAILS(fourbit_quantizer_from_json(context, NULL, 2, &made));
    NULL_FAILS(fourbit_quantizer_from_json(context, "{}", 2, NULL));
    NULL_FAILS(fourbit_quantizer_to_json(NULL, NULL, 0, &length));
    NULL_FAILS(fourbit_quantizer_to_json(quantizer, NULL, 1, &length));
    NULL_FAILS(fourbit_quantizer_to_json(quantizer, NULL, 0, NULL));
    NULL_FAILS(fourbit_quantizer_query(quantizer, NULL));
    fourbit_quantizer_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    NULL_FAILS(fourbit_quantizer_query(NULL, &info));
    NULL_FAILS(fourbit_quant_sizes(NULL, 1, &bytes));
    NULL_FAILS(fourbit_quant_sizes(quantizer, 1, NULL));
}

static void weights(void) {
    const fourbit_tensor tensor = tensor_of(elements, F32, 2, kShape);
    fourbit_weight* made = NULL;
    NULL_FAILS(fourbit_quantize(NULL, &tensor, &made));
    NULL_FAILS(fourbit_quantize(quantizer, NULL, &made));
    NULL_FAILS(fourbit_quantize(quantizer, &tensor, NULL));
    NULL_FAILS(fourbit_dequantize(NULL, weight, &tensor));
    NULL_FAILS(fourbit_dequantize(context, NULL, &tensor));
    NULL_FAILS(fourbit_dequantize(context, weight, NULL));
    fourbit_quant_error error;
    memset(&error, 0, sizeof error);
    error.struct_size = sizeof error;
    NULL_FAILS(fourbit_quant_measure(NULL, &tensor, weight, &error));
    NULL_FAILS(fourbit_quant_measure(context, NULL, weight, &error));
    NULL_FAILS(fourbit_quant_measure(context, &tensor, NULL, &error));
    NULL_FAILS(fourbit_quant_measure(context, &tensor, weight, NULL));
    fourbit_weight_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    NULL_FAILS(fourbit_weight_query(NULL, &info));
    NULL_FAILS(fourbit_weight_query(weight, NULL));
    NULL_FAILS(fourbit_weight_copy_to(NULL, context, &made));
    NULL_FAILS(fourbit_weight_copy_to(weight, NULL, &made));
    NULL_FAILS(fourbit_weight_copy_to(weight, context, NULL));
    NULL_FAILS(fourbit_weight_expert(NULL, 0, &made));
    NULL_FAILS(fourbit_weight_expert(weight, 0, NULL));
    fourbit_weight_destroy(NULL);
    CHECK(made == NULL);
}

static void products(void) {
    const fourbit_tensor input = tensor_of(elements, F32, 1, kInput);
    const fourbit_tensor output = tensor_of(elements + 64, F32, 1, kOutput);
    NULL_FAILS(fourbit_gemm(NULL, &input, weight, NULL, NULL, &output));
    NULL_FAILS(fourbit_gemm(context, NULL, weight, NULL, NULL, &output));
    NULL_FAILS(fourbit_gemm(context, &input, NULL, NULL, NULL, &output));
    NULL_FAILS(fourbit_gemm(context, &input, weight, NULL, NULL, NULL));
    OK(fourbit_gemm(context, &input, weight, NULL, NULL, &output));
    const int64_t offsets[2] = {0, 1};
    const fourbit_weight* expert = weight;
    const fourbit_weight* none = NULL;
    NULL_FAILS(fourbit_grouped_gemm(NULL, &input, offsets, &expert, 1, NULL, &output));
    NULL_FAILS(fourbit_grouped_gemm(context, NULL, offsets, &expert, 1, NULL, &output));
    NULL_FAILS(fourbit_grouped_gemm(context, &input, NULL, &expert, 1, NULL, &output));
    NULL_FAILS(fourbit_grouped_gemm(context, &input, offsets, NULL, 1, NULL, &output));
    NULL_FAILS(fourbit_grouped_gemm(context, &input, offsets, &none, 1, NULL, &output));
    NULL_FAILS(fourbit_grouped_gemm(context, &input, offsets, &expert, 1, NULL, NULL));
}

static void parts(void) {
    size_t size = 0;
    fourbit_weight* made = NULL;
    NULL_FAILS(fourbit_weight_part_count(NULL, &size));
    NULL_FAILS(fourbit_weight_part_count(weight, NULL));
    NULL_FAILS(fourbit_weight_part(NULL, 0, NULL, NULL));
    OK(fourbit_weight_part(weight, 0, NULL, NULL));
    const char* name = "";
    const char* no_name = NULL;
    const fourbit_tensor part = tensor_of(elements, U8, 2, kShape);
    NULL_FAILS(fourbit_weight_from_parts(NULL, &name, &part, 1, &made));
    NULL_FAILS(fourbit_weight_from_parts(context, NULL, &part, 1, &made));
    NULL_FAILS(fourbit_weight_from_parts(context, &no_name, &part, 1, &made));
    NULL_FAILS(fourbit_weight_from_parts(context, &name, NULL, 1, &made));
    NULL_FAILS(fourbit_weight_from_parts(context, &name, &part, 1, NULL));
    NULL_FAILS(fourbit_weight_serialize(NULL, NULL, 0, &size));
    NULL_FAILS(fourbit_weight_serialize(weight, NULL, 1, &size));
    NULL_FAILS(fourbit_weight_serialize(weight, NULL, 0, NULL));
    const uint8_t byte = 0;
    NULL_FAILS(fourbit_weight_deserialize(NULL, &byte, 1, &made));
    NULL_FAILS(fourbit_weight_deserialize(context, NULL, 1, &made));
    NULL_FAILS(fourbit_weight_deserialize(context, &byte, 1, NULL));
    struct DLManagedTensorVersioned* managed = NULL;
    NULL_FAILS(fourbit_weight_to_dlpack(NULL, 0, &managed));
    NULL_FAILS(fourbit_weight_to_dlpack(weight, 0, NULL));
    CHECK(made == NULL && managed == NULL);
}

static void checkpoints(void) {
    fourbit_checkpoint* opened = NULL;
    size_t size = 0;
    NULL_FAILS(fourbit_checkpoint_open(NULL, &opened));
    NULL_FAILS(fourbit_checkpoint_open("x", NULL));
    NULL_FAILS(fourbit_checkpoint_len(NULL, &size));
    NULL_FAILS(fourbit_checkpoint_len(checkpoint, NULL));
    fourbit_checkpoint_entry entry;
    memset(&entry, 0, sizeof entry);
    entry.struct_size = sizeof entry;
    NULL_FAILS(fourbit_checkpoint_get(NULL, 0, &entry));
    NULL_FAILS(fourbit_checkpoint_get(checkpoint, 0, NULL));
    NULL_FAILS(fourbit_checkpoint_find(NULL, "x", &size));
    NULL_FAILS(fourbit_checkpoint_find(checkpoint, NULL, &size));
    NULL_FAILS(fourbit_checkpoint_find(checkpoint, "lm_head.weight", NULL));
    fourbit_tensor view;
    NULL_FAILS(fourbit_checkpoint_tensor(NULL, 0, &view));
    NULL_FAILS(fourbit_checkpoint_tensor(checkpoint, 0, NULL));
    fourbit_weight* made = NULL;
    NULL_FAILS(fourbit_checkpoint_weight(NULL, context, 0, &made));
    NULL_FAILS(fourbit_checkpoint_weight(checkpoint, NULL, 0, &made));
    NULL_FAILS(fourbit_checkpoint_weight(checkpoint, context, 0, NULL));
    NULL_FAILS(fourbit_checkpoint_config(NULL, NULL, 0, &size));
    NULL_FAILS(fourbit_checkpoint_config(checkpoint, NULL, 1, &size));
    NULL_FAILS(fourbit_checkpoint_config(checkpoint, NULL, 0, NULL));
    fourbit_checkpoint_destroy(NULL);
    CHECK(opened == NULL && made == NULL);
}

static void plans(void) {
    fourbit_plan* made = NULL;
    size_t size = 0;
    NULL_FAILS(fourbit_plan_create(NULL, checkpoint, NULL, &made));
    NULL_FAILS(fourbit_plan_create(quantizer, NULL, NULL, &made));
    NULL_FAILS(fourbit_plan_create(quantizer, checkpoint, NULL, NULL));
    NULL_FAILS(fourbit_plan_len(NULL, &size));
    NULL_FAILS(fourbit_plan_len(plan, NULL));
    NULL_FAILS(fourbit_plan_get(plan, 0, NULL));
    fourbit_plan_entry entry;
    memset(&entry, 0, sizeof entry);
    entry.struct_size = sizeof entry;
    NULL_FAILS(fourbit_plan_get(NULL, 0, &entry));
    NULL_FAILS(fourbit_plan_find(NULL, "x", &size));
    NULL_FAILS(fourbit_plan_find(plan, NULL, &size));
    NULL_FAILS(fourbit_plan_find(plan, "lm_head.weight", NULL));
    NULL_FAILS(fourbit_plan_summary(plan, NULL));
    NULL_FAILS(fourbit_plan_to_json(NULL, NULL, 0, &size));
    NULL_FAILS(fourbit_plan_to_json(plan, NULL, 0, NULL));
    NULL_FAILS(fourbit_plan_from_json(NULL, 2, &made));
    NULL_FAILS(fourbit_plan_from_json("{}", 2, NULL));
    fourbit_plan_destroy(NULL);
    CHECK(made == NULL);
}

static void models(void) {
    fourbit_model* made = NULL;
    fourbit_weight* one = NULL;
    size_t size = 0;
    NULL_FAILS(fourbit_model_load(NULL, checkpoint, plan, NULL, NULL, NULL, &made));
    NULL_FAILS(fourbit_model_load(quantizer, NULL, plan, NULL, NULL, NULL, &made));
    NULL_FAILS(fourbit_model_load(quantizer, checkpoint, plan, NULL, NULL, NULL, NULL));
    NULL_FAILS(fourbit_model_len(NULL, &size));
    NULL_FAILS(fourbit_model_len(model, NULL));
    fourbit_model_entry entry;
    memset(&entry, 0, sizeof entry);
    entry.struct_size = sizeof entry;
    NULL_FAILS(fourbit_model_get(NULL, 0, &entry));
    NULL_FAILS(fourbit_model_get(model, 0, NULL));
    NULL_FAILS(fourbit_model_find(NULL, "x", &size));
    NULL_FAILS(fourbit_model_find(model, NULL, &size));
    NULL_FAILS(fourbit_model_find(model, "lm_head.weight", NULL));
    NULL_FAILS(fourbit_model_weight(NULL, "x", &one));
    NULL_FAILS(fourbit_model_weight(model, NULL, &one));
    NULL_FAILS(fourbit_model_weight(model, "x", NULL));
    fourbit_tensor view;
    NULL_FAILS(fourbit_model_tensor(NULL, "x", &view));
    NULL_FAILS(fourbit_model_tensor(model, NULL, &view));
    NULL_FAILS(fourbit_model_tensor(model, "lm_head.weight", NULL));
    const fourbit_tensor to = tensor_of(elements, F32, 2, kShape);
    NULL_FAILS(fourbit_model_read(NULL, "x", &to));
    NULL_FAILS(fourbit_model_read(model, NULL, &to));
    NULL_FAILS(fourbit_model_read(model, "lm_head.weight", NULL));
    fourbit_model_destroy(NULL);
    CHECK(made == NULL && one == NULL);
}

static void conversions(void) {
    const fourbit_dtype own = {0, 0, 0};
    NULL_FAILS(fourbit_quantize_checkpoint(NULL, checkpoint, plan, "x", NULL, NULL, NULL));
    NULL_FAILS(fourbit_quantize_checkpoint(quantizer, NULL, plan, "x", NULL, NULL, NULL));
    NULL_FAILS(fourbit_quantize_checkpoint(quantizer, checkpoint, plan, NULL, NULL, NULL, NULL));
    NULL_FAILS(fourbit_dequantize_checkpoint(NULL, checkpoint, own, "x", NULL, NULL, NULL));
    NULL_FAILS(fourbit_dequantize_checkpoint(context, NULL, own, "x", NULL, NULL, NULL));
    NULL_FAILS(fourbit_dequantize_checkpoint(context, checkpoint, own, NULL, NULL, NULL, NULL));
    fourbit_writer* made = NULL;
    const fourbit_tensor tensor = tensor_of(elements, F32, 2, kShape);
    NULL_FAILS(fourbit_writer_create(NULL, NULL, &made));
    NULL_FAILS(fourbit_writer_create("x", NULL, NULL));
    NULL_FAILS(fourbit_writer_add_tensor(NULL, "x", &tensor));
    NULL_FAILS(fourbit_writer_add_tensor(writer, NULL, &tensor));
    NULL_FAILS(fourbit_writer_add_tensor(writer, "x", NULL));
    NULL_FAILS(fourbit_writer_add_weight(NULL, "x", weight));
    NULL_FAILS(fourbit_writer_add_weight(writer, NULL, weight));
    NULL_FAILS(fourbit_writer_add_weight(writer, "x", NULL));
    NULL_FAILS(fourbit_writer_set_metadata(NULL, "x", "y"));
    NULL_FAILS(fourbit_writer_set_metadata(writer, NULL, "y"));
    NULL_FAILS(fourbit_writer_set_metadata(writer, "x", NULL));
    NULL_FAILS(fourbit_writer_set_config(NULL, "{}", 2));
    NULL_FAILS(fourbit_writer_set_config(writer, NULL, 2));
    NULL_FAILS(fourbit_writer_finish(NULL));
    fourbit_writer_destroy(NULL);
    CHECK(made == NULL);
}

/* A handle of another type, and one that is gone. */
static void wrong_handles(void) {
    uint32_t threads = 0;
    size_t size = 0;
    FAILS(INVALID_HANDLE, "expected a fourbit_context, got a fourbit_quantizer",
          fourbit_context_query((const fourbit_context*)(const void*)quantizer, NULL, &threads));
    FAILS(INVALID_HANDLE, "expected a fourbit_weight, got a fourbit_plan",
          fourbit_weight_part_count((const fourbit_weight*)(const void*)plan, &size));
    FAILS(INVALID_HANDLE, "expected a fourbit_plan, got a fourbit_checkpoint",
          fourbit_plan_len((const fourbit_plan*)(const void*)checkpoint, &size));
    FAILS(INVALID_HANDLE, "expected a fourbit_model, got a fourbit_plan",
          fourbit_model_len((const fourbit_model*)(const void*)plan, &size));
    FAILS(INVALID_HANDLE, "not a live fourbit_checkpoint",
          fourbit_checkpoint_len((const fourbit_checkpoint*)(const void*)elements, &size));
    /* Destroying what is no such handle leaves it alone. */
    fourbit_weight_destroy((fourbit_weight*)(void*)quantizer);
    OK(fourbit_quant_sizes(quantizer, 64, &(uint64_t){0}));
}

int main(int argc, char** argv) {
    char path[4096];
    context = new_context(1);
    quantizer = new_quantizer(context, FOURBIT_QUANT_TYPE_FP4, 64, 0);
    weight = random_weight(quantizer, 8, 64, 1);
    NEED(fourbit_checkpoint_open(fixture(argc, argv, path, sizeof path), &checkpoint));
    NEED(fourbit_plan_create(quantizer, checkpoint, NULL, &plan));
    NEED(fourbit_model_load(quantizer, checkpoint, plan, NULL, NULL, NULL, &model));
    NEED(fourbit_writer_create("never-written", NULL, &writer));
    processes();
    contexts();
    quantizers();
    weights();
    products();
    parts();
    checkpoints();
    plans();
    models();
    conversions();
    wrong_handles();
    fourbit_writer_destroy(writer);
    fourbit_model_destroy(model);
    fourbit_plan_destroy(plan);
    fourbit_checkpoint_destroy(checkpoint);
    fourbit_weight_destroy(weight);
    fourbit_quantizer_destroy(quantizer);
    FAILS(INVALID_HANDLE, "destroyed", fourbit_quant_sizes(quantizer, 64, &(uint64_t){0}));
    fourbit_quantizer_destroy(quantizer); /* tolerated */
    fourbit_context_destroy(context);
    return check_result();
}
