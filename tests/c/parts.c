/* A weight's parts and images: names, shapes, round trips, damage, DLPack. */
#include "check.h"

static fourbit_context* context;

typedef struct {
    size_t count;
    const char* names[8];
    fourbit_tensor tensors[8];
} part_list;

static part_list parts_of(const fourbit_weight* weight) {
    part_list list;
    memset(&list, 0, sizeof list);
    NEED(fourbit_weight_part_count(weight, &list.count));
    for (size_t i = 0; i < list.count; ++i) {
        NEED(fourbit_weight_part(weight, i, &list.names[i], &list.tensors[i]));
    }
    return list;
}

static size_t bytes_of(const fourbit_tensor* tensor) {
    size_t bytes = tensor->dtype.bits / 8;
    for (int32_t d = 0; d < tensor->ndim; ++d) {
        bytes *= (size_t)tensor->shape[d];
    }
    return bytes;
}

static int same_weight(const fourbit_weight* a, const fourbit_weight* b) {
    const part_list x = parts_of(a);
    const part_list y = parts_of(b);
    int same = x.count == y.count;
    for (size_t i = 0; same && i < x.count; ++i) {
        const size_t bytes = bytes_of(&x.tensors[i]);
        same = strcmp(x.names[i], y.names[i]) == 0 && bytes == bytes_of(&y.tensors[i]) &&
               memcmp(&x.tensors[i].dtype, &y.tensors[i].dtype, sizeof(fourbit_dtype)) == 0 &&
               memcmp(x.tensors[i].data, y.tensors[i].data, bytes) == 0;
    }
    return same;
}

static fourbit_weight* new_weight(uint32_t type, uint32_t double_quant) {
    fourbit_quantizer* quantizer = new_quantizer(context, type, 64, double_quant);
    fourbit_weight* weight = random_weight(quantizer, 30, 70, 5);
    fourbit_quantizer_destroy(quantizer);
    return weight;
}

static void names(void) {
    fourbit_weight* weight = new_weight(FOURBIT_QUANT_TYPE_FP4, 1);
    const part_list list = parts_of(weight);
    const char* expected[] = {"",
                              "absmax",
                              "quant_map",
                              "nested_absmax",
                              "nested_quant_map",
                              "quant_state.bitsandbytes__fp4"};
    CHECK(list.count == 6);
    for (size_t e = 0; e < 6; ++e) {
        int found = 0;
        for (size_t i = 0; i < list.count; ++i) {
            found += strcmp(list.names[i], expected[e]) == 0;
        }
        CHECK(found == 1);
    }
    CHECK(list.tensors[0].ndim == 2 && list.tensors[0].shape[0] == 30 * 70 / 2);
    CHECK(list.tensors[0].shape[1] == 1);
    fourbit_weight_destroy(weight);
}

/* In any order, under short and under full names. */
static void from_parts(uint32_t type, uint32_t double_quant) {
    fourbit_weight* weight = new_weight(type, double_quant);
    const part_list list = parts_of(weight);
    char full[8][128];
    const char* names[8];
    fourbit_tensor tensors[8];
    fourbit_weight* again = NULL;
    for (size_t i = 0; i < list.count; ++i) {
        const size_t from = list.count - 1 - i;
        names[i] = list.names[from];
        tensors[i] = list.tensors[from];
    }
    NEED(fourbit_weight_from_parts(context, names, tensors, list.count, &again));
    CHECK(same_weight(weight, again));
    fourbit_weight_destroy(again);
    for (size_t i = 0; i < list.count; ++i) {
        snprintf(full[i], sizeof full[i], "model.layers.0.mlp.up_proj.weight%s%s",
                 names[i][0] == '\0' ? "" : ".", names[i]);
        names[i] = full[i];
    }
    NEED(fourbit_weight_from_parts(context, names, tensors, list.count, &again));
    CHECK(same_weight(weight, again));
    fourbit_weight_destroy(again);

    again = NULL;
    for (size_t left_out = 0; left_out < list.count; ++left_out) {
        const char* fewer[8];
        fourbit_tensor fewer_tensors[8];
        size_t count = 0;
        for (size_t i = 0; i < list.count; ++i) {
            fewer[count] = list.names[i];
            fewer_tensors[count] = list.tensors[i];
            count += i != left_out;
        }
        FAILS(FORMAT, "", fourbit_weight_from_parts(context, fewer, fewer_tensors, count, &again));
    }
    const char* strange[1] = {"nonsense"};
    FAILS(FORMAT, "quant_state", fourbit_weight_from_parts(context, strange, tensors, 1, &again));
    FAILS(INVALID_ARGUMENT, "count is 65",
          fourbit_weight_from_parts(context, names, tensors, 65, &again));
    CHECK(again == NULL);
    fourbit_weight_destroy(weight);
}

/* A serialized image and back; every truncation and many damaged bytes give a status, never more.
 */
static void images(uint32_t type, uint32_t double_quant) {
    fourbit_weight* weight = new_weight(type, double_quant);
    size_t size = 0;
    OK(fourbit_weight_serialize(weight, NULL, 0, &size));
    uint8_t* image = allocate(size);
    OK(fourbit_weight_serialize(weight, image, size, &size));
    fourbit_weight* again = NULL;
    NEED(fourbit_weight_deserialize(context, image, size, &again));
    CHECK(same_weight(weight, again));
    fourbit_weight_destroy(again);
    for (size_t cut = 0; cut < size; cut += 1 + cut / 16) {
        again = NULL;
        FAILS(FORMAT, "", fourbit_weight_deserialize(context, image, cut, &again));
        CHECK(again == NULL);
    }
    uint64_t state = 9;
    int survived = 0;
    for (int i = 0; i < 300; ++i) {
        const size_t at = (size_t)(random_unit(&state) * 1200) % size;
        const uint8_t before = image[at];
        image[at] = (uint8_t)(random_unit(&state) * 256);
        again = NULL;
        if (fourbit_weight_deserialize(context, image, size, &again) == FOURBIT_STATUS_OK) {
            ++survived;
            fourbit_weight_destroy(again);
        } else {
            CHECK(again == NULL && fourbit_last_error()[0] != '\0');
        }
        image[at] = before;
    }
    CHECK(survived < 300);
    fourbit_weight_destroy(weight);
    free(image);
}

/* A copy on the same device shares the bytes and outlives the original. */
static void copies(void) {
    fourbit_weight* weight = new_weight(FOURBIT_QUANT_TYPE_NF4, 1);
    fourbit_weight* copy = NULL;
    NEED(fourbit_weight_copy_to(weight, context, &copy));
    CHECK(parts_of(weight).tensors[0].data == parts_of(copy).tensors[0].data);
    fourbit_weight* other = new_weight(FOURBIT_QUANT_TYPE_NF4, 1);
    fourbit_weight_destroy(weight);
    CHECK(same_weight(copy, other));
    fourbit_weight_destroy(copy);
    fourbit_weight_destroy(other);
}

/* DLPack's versioned struct, spelled out. */
struct DLManagedTensorVersioned {
    uint32_t major, minor;
    void* manager;
    void (*deleter)(struct DLManagedTensorVersioned* self);
    uint64_t flags;
    fourbit_tensor tensor;
};

static void dlpack(void) {
    fourbit_weight* weight = new_weight(FOURBIT_QUANT_TYPE_NF4, 1);
    const part_list list = parts_of(weight);
    struct DLManagedTensorVersioned* managed[6] = {NULL};
    uint8_t copy[30 * 70 / 2];
    memcpy(copy, list.tensors[0].data, sizeof copy);
    for (uint32_t i = 0; i < 6; ++i) {
        NEED(fourbit_weight_to_dlpack(weight, i, &managed[i]));
        CHECK(managed[i]->major == 1 && (managed[i]->flags & 1) == 1);
        CHECK(managed[i]->tensor.data == list.tensors[i].data);
        CHECK(managed[i]->tensor.device.kind == FOURBIT_DEVICE_KIND_CPU);
    }
    struct DLManagedTensorVersioned* none = NULL;
    FAILS(NOT_FOUND, "part 6", fourbit_weight_to_dlpack(weight, 6, &none));
    CHECK(none == NULL);
    fourbit_weight_destroy(weight);
    CHECK(memcmp(copy, managed[0]->tensor.data, sizeof copy) == 0);
    for (int i = 0; i < 6; ++i) {
        managed[i]->deleter(managed[i]);
    }
}

/* Labels of the packed bytes; the bytes are the same. */
static void storage(void) {
    const fourbit_dtype labels[] = {U8, F16, BF16, F32};
    float* source = random_floats(64 * 64, 1, 2);
    const int64_t shape[2] = {64, 64};
    const fourbit_tensor tensor = tensor_of(source, F32, 2, shape);
    uint8_t first[64 * 64 / 2];
    for (size_t i = 0; i < sizeof labels / sizeof *labels; ++i) {
        fourbit_quant_config config;
        memset(&config, 0, sizeof config);
        config.struct_size = sizeof config;
        config.storage = labels[i];
        fourbit_quantizer* quantizer = NULL;
        fourbit_weight* weight = NULL;
        NEED(fourbit_quantizer_create(context, &config, &quantizer));
        NEED(fourbit_quantize(quantizer, &tensor, &weight));
        const part_list list = parts_of(weight);
        CHECK(memcmp(&list.tensors[0].dtype, &labels[i], sizeof labels[i]) == 0);
        CHECK(bytes_of(&list.tensors[0]) == sizeof first);
        if (i == 0) {
            memcpy(first, list.tensors[0].data, sizeof first);
        }
        CHECK(memcmp(first, list.tensors[0].data, sizeof first) == 0);
        fourbit_weight_destroy(weight);
        fourbit_quantizer_destroy(quantizer);
    }
    free(source);
}

int main(void) {
    context = new_context(1);
    names();
    for (uint32_t type = 0; type < 2; ++type) {
        for (uint32_t double_quant = 0; double_quant < 2; ++double_quant) {
            from_parts(type, double_quant);
            images(type, double_quant);
        }
    }
    copies();
    dlpack();
    storage();
    fourbit_context_destroy(context);
    return check_result();
}
