/* Checkpoints: opened, planned, put together by hand; quantization_config as JSON. */
#include "check.h"

static fourbit_context* context;
static fourbit_quantizer* quantizer;
static fourbit_checkpoint* model;

static fourbit_checkpoint* open_checkpoint(const char* path) {
    fourbit_checkpoint* checkpoint = NULL;
    NEED(fourbit_checkpoint_open(path, &checkpoint));
    return checkpoint;
}

static fourbit_checkpoint_entry entry_of(const fourbit_checkpoint* checkpoint, size_t index) {
    fourbit_checkpoint_entry entry;
    memset(&entry, 0, sizeof entry);
    entry.struct_size = sizeof entry;
    NEED(fourbit_checkpoint_get(checkpoint, index, &entry));
    return entry;
}

static fourbit_plan_entry fate_of(const fourbit_plan* plan, size_t index) {
    fourbit_plan_entry entry;
    memset(&entry, 0, sizeof entry);
    entry.struct_size = sizeof entry;
    NEED(fourbit_plan_get(plan, index, &entry));
    return entry;
}

static const char* const kUp = "model.layers.2.mlp.up_proj.weight";

static void entries(void) {
    size_t count = 0;
    OK(fourbit_checkpoint_len(model, &count));
    CHECK(count == 5 * 9 + 3);
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; ++i) {
        const fourbit_checkpoint_entry entry = entry_of(model, i);
        size_t found = 0;
        fourbit_tensor view;
        OK(fourbit_checkpoint_find(model, entry.name, &found));
        OK(fourbit_checkpoint_tensor(model, i, &view));
        CHECK(found == i && entry.kind == FOURBIT_CHECKPOINT_ENTRY_KIND_TENSOR);
        CHECK(view.ndim == entry.ndim && view.shape[0] == entry.shape[0]);
        CHECK(memcmp(&view.dtype, &BF16, sizeof BF16) == 0);
        bytes += entry.byte_size;
    }
    CHECK(bytes == 2 * 988544);
    fourbit_tensor view;
    fourbit_weight* weight = NULL;
    FAILS(NOT_FOUND, "48", fourbit_checkpoint_tensor(model, count, &view));
    FAILS(INVALID_ARGUMENT, "lm_head", fourbit_checkpoint_weight(model, context, 0, &weight));
    CHECK(weight == NULL);

    size_t length = 0;
    OK(fourbit_checkpoint_config(model, NULL, 0, &length));
    char* text = allocate(length + 1);
    FAILS(BUFFER_TOO_SMALL, "needed", fourbit_checkpoint_config(model, text, length, &length));
    OK(fourbit_checkpoint_config(model, text, length + 1, &length));
    CHECK(strlen(text) == length && strstr(text, "LlamaForCausalLM") != NULL);
    free(text);
}

static void plans(void) {
    fourbit_plan* plan = NULL;
    NEED(fourbit_plan_create(quantizer, model, NULL, &plan));
    size_t count = 0;
    size_t index = 0;
    OK(fourbit_plan_len(plan, &count));
    CHECK(count == 48);
    fourbit_plan_totals totals;
    memset(&totals, 0, sizeof totals);
    totals.struct_size = sizeof totals;
    OK(fourbit_plan_summary(plan, &totals));
    CHECK(totals.converted == 35 && totals.kept == 13 && totals.bytes_before == 2 * 988544);
    OK(fourbit_plan_find(plan, kUp, &index));
    CHECK(fate_of(plan, index).action == FOURBIT_PLAN_ACTION_QUANTIZE);
    OK(fourbit_plan_find(plan, "lm_head.weight", &index));
    CHECK(fate_of(plan, index).action == FOURBIT_PLAN_ACTION_KEEP);
    CHECK(fate_of(plan, index).reason[0] != '\0');
    FAILS(NOT_FOUND, "nothing", fourbit_plan_find(plan, "nothing", &index));

    size_t length = 0;
    OK(fourbit_plan_to_json(plan, NULL, 0, &length));
    char* json = allocate(length + 1);
    OK(fourbit_plan_to_json(plan, json, length + 1, &length));
    fourbit_plan* again = NULL;
    NEED(fourbit_plan_from_json(json, length, &again));
    OK(fourbit_plan_len(again, &count));
    CHECK(count == 48);
    fourbit_plan_destroy(again);
    again = NULL;
    FAILS(FORMAT, "", fourbit_plan_from_json(json, length / 2, &again));
    free(json);

    /* A list of modules to keep replaces the automatic one. */
    const char* const skip[] = {"lm_head", "up_proj"};
    fourbit_plan_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.skip_modules = skip;
    config.skip_module_count = 2;
    NEED(fourbit_plan_create(quantizer, model, &config, &again));
    OK(fourbit_plan_find(again, kUp, &index));
    CHECK(fate_of(again, index).action == FOURBIT_PLAN_ACTION_KEEP);
    fourbit_plan_destroy(again);
    again = NULL;
    config.profile = 4;
    FAILS(INVALID_ARGUMENT, "profile is 4", fourbit_plan_create(quantizer, model, &config, &again));
    config.profile = 0;
    config.experts = 4;
    FAILS(INVALID_ARGUMENT, "experts is 4", fourbit_plan_create(quantizer, model, &config, &again));
    CHECK(again == NULL);
    fourbit_plan_destroy(plan);
}

static void written(void) {
    float values[12];
    for (int i = 0; i < 12; ++i) {
        values[i] = (float)i;
    }
    const int64_t shape[2] = {3, 4};
    const int64_t strides[2] = {1, 3};
    fourbit_tensor turned = tensor_of(values, F32, 2, shape);
    turned.strides = strides;
    fourbit_weight* weight = random_weight(quantizer, 16, 64, 3);
    fourbit_writer* writer = NULL;
    NEED(fourbit_writer_create("by-hand", NULL, &writer));
    OK(fourbit_writer_add_tensor(writer, "turned", &turned));
    OK(fourbit_writer_add_weight(writer, "layer.weight", weight));
    OK(fourbit_writer_set_metadata(writer, "made by", "hand"));
    OK(fourbit_writer_set_config(writer, "{\"model_type\": \"llama\"}", 23));
    memset(values, 0, sizeof values); /* it was copied */
    OK(fourbit_writer_finish(writer));
    fourbit_writer_destroy(writer);

    fourbit_checkpoint* checkpoint = open_checkpoint("by-hand");
    size_t count = 0;
    size_t index = 0;
    fourbit_tensor view;
    OK(fourbit_checkpoint_len(checkpoint, &count));
    OK(fourbit_checkpoint_find(checkpoint, "turned", &index));
    OK(fourbit_checkpoint_tensor(checkpoint, index, &view));
    CHECK(count == 2 && view.shape[0] == 3 && view.shape[1] == 4);
    CHECK(((const float*)view.data)[0] == 0 && ((const float*)view.data)[1] == 3);
    OK(fourbit_checkpoint_find(checkpoint, "layer.weight", &index));
    CHECK(entry_of(checkpoint, index).kind == FOURBIT_CHECKPOINT_ENTRY_KIND_WEIGHT);
    fourbit_checkpoint_destroy(checkpoint);
    fourbit_weight_destroy(weight);

    /* The same name twice, and a writer that is given up. */
    NEED(fourbit_writer_create("never", NULL, &writer));
    turned.strides = NULL;
    OK(fourbit_writer_add_tensor(writer, "twice", &turned));
    fourbit_status status = fourbit_writer_add_tensor(writer, "twice", &turned);
    if (status == FOURBIT_STATUS_OK) {
        status = fourbit_writer_finish(writer);
    }
    CHECK(status == FOURBIT_STATUS_INVALID_ARGUMENT);
    fourbit_writer_destroy(writer);
    checkpoint = NULL;
    CHECK(fourbit_checkpoint_open("never", &checkpoint) == FOURBIT_STATUS_IO);
}

/* A quantizer of transformers' JSON, and back. */
static void json(void) {
    const char* text = "{\"load_in_4bit\": true, \"bnb_4bit_quant_type\": \"nf4\", "
                       "\"bnb_4bit_use_double_quant\": true, \"quant_method\": \"bitsandbytes\"}";
    fourbit_quantizer* made = NULL;
    NEED(fourbit_quantizer_from_json(context, text, strlen(text), &made));
    fourbit_quantizer_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    OK(fourbit_quantizer_query(made, &info));
    CHECK(info.quant_type == FOURBIT_QUANT_TYPE_NF4 && info.double_quant == 1);
    CHECK(info.block_size == 64 && info.is_serializable == 1 && info.is_trainable == 1);
    char buffer[2048];
    size_t length = 0;
    OK(fourbit_quantizer_to_json(made, buffer, sizeof buffer, &length));
    CHECK(strlen(buffer) == length && strstr(buffer, "\"bnb_4bit_quant_type\": \"nf4\"") != NULL);
    fourbit_quantizer_destroy(made);
    made = NULL;
    NEED(fourbit_quantizer_from_json(context, "{\"load_in_4bit\": true}", 22, &made));
    OK(fourbit_quantizer_query(made, &info));
    CHECK(info.quant_type == FOURBIT_QUANT_TYPE_FP4 && info.double_quant == 0);
    fourbit_quantizer_destroy(made);
    made = NULL;
    FAILS(UNSUPPORTED, "8",
          fourbit_quantizer_from_json(context, "{\"load_in_8bit\": true}", 22, &made));
    CHECK(fourbit_quantizer_from_json(context, "{", 1, &made) != FOURBIT_STATUS_OK);
    CHECK(fourbit_quantizer_from_json(context, "\xff\xfe", 2, &made) != FOURBIT_STATUS_OK);
    CHECK(made == NULL);
}

int main(int argc, char** argv) {
    char path[4096];
    context = new_context(2);
    quantizer = new_quantizer(context, FOURBIT_QUANT_TYPE_NF4, 64, 1);
    model = open_checkpoint(fixture(argc, argv, path, sizeof path));
    entries();
    plans();
    written();
    json();
    /* Destroyed in an order that objects must not mind. */
    fourbit_context_destroy(context);
    fourbit_checkpoint_destroy(model);
    fourbit_quantizer_destroy(quantizer);
    return check_result();
}
