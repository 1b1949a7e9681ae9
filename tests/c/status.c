/* Every status that a caller can provoke on a machine without a GPU, and that outputs stay
 * untouched. */
#include "check.h"

#include <limits.h>

static fourbit_context* context;
static fourbit_quantizer* quantizer;
static fourbit_weight* weight;

static const int64_t kShape[2] = {8, 64};

static void names(void) {
    for (int32_t status = FOURBIT_STATUS_OK; status <= FOURBIT_STATUS_PANIC; ++status) {
        const char* name = fourbit_status_name(status);
        CHECK(name[0] != '\0' && strcmp(name, fourbit_status_name(-1)) != 0);
        for (int32_t other = 0; other < status; ++other) {
            CHECK(strcmp(name, fourbit_status_name(other)) != 0);
        }
    }
    CHECK(strcmp(fourbit_status_name(17), fourbit_status_name(INT32_MIN)) == 0);
}

static void arguments(void) {
    float source[512] = {0};
    fourbit_tensor tensor = tensor_of(source, F32, 2, kShape);
    fourbit_weight* const untouched = (fourbit_weight*)source;
    fourbit_weight* out = untouched;
    FAILS(INVALID_ARGUMENT, "fourbit_quantizer", fourbit_quantize(NULL, &tensor, &out));
    FAILS(INVALID_ARGUMENT, "source", fourbit_quantize(quantizer, NULL, &out));
    FAILS(INVALID_ARGUMENT, "out", fourbit_quantize(quantizer, &tensor, NULL));
    tensor.ndim = 9;
    FAILS(INVALID_ARGUMENT, "ndim is 9", fourbit_quantize(quantizer, &tensor, &out));
    FAILS(INVALID_HANDLE, "got a fourbit_weight",
          fourbit_quantize((const fourbit_quantizer*)(const void*)weight, &tensor, &out));
    CHECK(out == untouched);
}

static void tensors(void) {
    float source[512] = {0};
    const int64_t other[2] = {8, 65};
    fourbit_tensor tensor = tensor_of(source, I32, 2, kShape);
    fourbit_weight* out = NULL;
    FAILS(DTYPE_UNSUPPORTED, "source", fourbit_quantize(quantizer, &tensor, &out));
    tensor.dtype = F32;
    tensor.device.kind = FOURBIT_DEVICE_KIND_CUDA;
    FAILS(DEVICE_MISMATCH, "source", fourbit_quantize(quantizer, &tensor, &out));
    tensor.device.kind = FOURBIT_DEVICE_KIND_CPU;
    tensor.shape = other;
    FAILS(SHAPE_MISMATCH, "[8, 65]", fourbit_dequantize(context, weight, &tensor));
    CHECK(out == NULL);
}

static void devices(void) {
    fourbit_context_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.device.kind = FOURBIT_DEVICE_KIND_CUDA;
    config.device.index = 1000;
    fourbit_context* out = NULL;
    FAILS(DEVICE_UNAVAILABLE, "cuda", fourbit_context_create(&config, &out));
    fourbit_device_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    FAILS(DEVICE_UNAVAILABLE, "cuda", fourbit_device_query(config.device, &info));
    CHECK(out == NULL && info.name[0] == '\0');
}

static void memory(void) {
    void* out = NULL;
    FAILS(OUT_OF_MEMORY, "bytes", fourbit_memory_alloc(context, SIZE_MAX / 4, &out));
    CHECK(out == NULL);
}

static void files(void) {
    fourbit_checkpoint* out = NULL;
    FAILS(IO, "no-such-directory", fourbit_checkpoint_open("no-such-directory", &out));
    FILE* file = fopen("broken.safetensors", "wb");
    CHECK(file != NULL && fputs("not a checkpoint at all", file) >= 0 && fclose(file) == 0);
    FAILS(FORMAT, "broken.safetensors", fourbit_checkpoint_open("broken.safetensors", &out));
    CHECK(out == NULL);
    fourbit_tensor view;
    memset(&view, 0, sizeof view);
    FAILS(NOT_FOUND, "part 6", fourbit_weight_part(weight, 6, NULL, &view));
    CHECK(view.data == NULL);
}

static void buffers(void) {
    size_t size = 0;
    NEED(fourbit_weight_serialize(weight, NULL, 0, &size));
    uint8_t* image = allocate(size);
    size_t said = 0;
    FAILS(BUFFER_TOO_SMALL, "needed", fourbit_weight_serialize(weight, image, size - 1, &said));
    CHECK(said == size && image[0] == 0);
    OK(fourbit_weight_serialize(weight, image, size, &said));
    fourbit_weight* out = NULL;
    FAILS(FORMAT, "", fourbit_weight_deserialize(context, image, size - 1, &out));
    CHECK(out == NULL);
    free(image);
}

static void versions(void) {
    struct {
        fourbit_quant_config known;
        uint64_t later;
    } config;
    memset(&config, 0, sizeof config);
    config.known.struct_size = sizeof config;
    config.later = 1;
    fourbit_quantizer* out = NULL;
    FAILS(UNSUPPORTED, "fourbit_quant_config",
          fourbit_quantizer_create(context, &config.known, &out));
    CHECK(out == NULL);
}

static void states(void) {
    fourbit_writer* writer = NULL;
    fourbit_save_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.force = 1;
    NEED(fourbit_writer_create("written", &config, &writer));
    OK(fourbit_writer_add_weight(writer, "layer.weight", weight));
    OK(fourbit_writer_finish(writer));
    FAILS(INVALID_STATE, "finished", fourbit_writer_finish(writer));
    FAILS(INVALID_STATE, "finished", fourbit_writer_add_weight(writer, "x", weight));
    fourbit_writer_destroy(writer);

    fourbit_checkpoint* checkpoint = NULL;
    NEED(fourbit_checkpoint_open("written", &checkpoint));
    size_t index = 7;
    FAILS(NOT_FOUND, "\"layer\"", fourbit_checkpoint_find(checkpoint, "layer", &index));
    CHECK(index == 7);
    fourbit_checkpoint_destroy(checkpoint);
}

static int32_t cancel(void* user, const fourbit_progress* progress) {
    CHECK(progress->struct_size >= sizeof *progress);
    ++*(int*)user;
    return 1;
}

static void cancelled(const char* model) {
    fourbit_checkpoint* checkpoint = NULL;
    NEED(fourbit_checkpoint_open(model, &checkpoint));
    int calls = 0;
    FAILS(CANCELLED, "",
          fourbit_quantize_checkpoint(quantizer, checkpoint, NULL, "cancelled", NULL, cancel,
                                      &calls));
    CHECK(calls == 1);
    fourbit_checkpoint* none = NULL;
    FAILS(IO, "cancelled", fourbit_checkpoint_open("cancelled", &none));
    fourbit_checkpoint_destroy(checkpoint);
}

int main(int argc, char** argv) {
    char path[4096];
    context = new_context(2);
    quantizer = new_quantizer(context, FOURBIT_QUANT_TYPE_NF4, 64, 1);
    weight = random_weight(quantizer, 8, 64, 1);
    names();
    arguments();
    tensors();
    devices();
    memory();
    files();
    buffers();
    versions();
    states();
    cancelled(fixture(argc, argv, path, sizeof path));
    fourbit_weight_destroy(weight);
    fourbit_quantizer_destroy(quantizer);
    fourbit_context_destroy(context);
    return check_result();
}
