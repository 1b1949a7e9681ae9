/* Views of tensors: strides, offsets, ranks, alignment, and what is refused. Quantizing and
 * decoding through an odd view must give what a compact copy gives. */
#include "check.h"
#include "halves.h"

static fourbit_context* context;
static fourbit_quantizer* quantizer;

static fourbit_weight* quantize(const fourbit_tensor* tensor) {
    fourbit_weight* weight = NULL;
    NEED(fourbit_quantize(quantizer, tensor, &weight));
    return weight;
}

static int same_bytes(const fourbit_weight* a, const fourbit_weight* b) {
    size_t count = 0;
    size_t other = 0;
    NEED(fourbit_weight_part_count(a, &count));
    NEED(fourbit_weight_part_count(b, &other));
    int same = count == other;
    for (size_t i = 0; same && i < count; ++i) {
        fourbit_tensor x;
        fourbit_tensor y;
        NEED(fourbit_weight_part(a, i, NULL, &x));
        NEED(fourbit_weight_part(b, i, NULL, &y));
        size_t bytes = x.dtype.bits / 8;
        for (int32_t d = 0; d < x.ndim; ++d) {
            bytes *= (size_t)x.shape[d];
        }
        same = x.ndim == y.ndim && memcmp(x.data, y.data, bytes) == 0;
    }
    return same;
}

/* [6, 10, 7] elements as one compact tensor, and seen with its dimensions turned around. */
static void strided(void) {
    enum { A = 6, B = 10, C = 7 };
    float* turned = random_floats(A * B * C, 1, 3);
    float* compact = allocate(A * B * C * sizeof *compact);
    for (int a = 0; a < A; ++a) {
        for (int b = 0; b < B; ++b) {
            for (int c = 0; c < C; ++c) {
                compact[(a * B + b) * C + c] = turned[(c * B + (B - 1 - b)) * A + a];
            }
        }
    }
    const int64_t shape[3] = {A, B, C};
    const int64_t strides[3] = {1, -A, A * B};
    const fourbit_tensor plain = tensor_of(compact, F32, 3, shape);
    fourbit_tensor view = tensor_of(turned, F32, 3, shape);
    view.strides = strides;
    view.byte_offset = (B - 1) * A * sizeof(float);
    fourbit_weight* expected = quantize(&plain);
    fourbit_weight* found = quantize(&view);
    CHECK(same_bytes(expected, found));

    /* Decoding into the view, and copying, put each element where the view says. */
    float* decoded = allocate(A * B * C * sizeof *decoded);
    float* scattered = allocate(A * B * C * sizeof *scattered);
    const fourbit_tensor to_plain = tensor_of(decoded, F32, 3, shape);
    fourbit_tensor to_view = view;
    to_view.data = scattered;
    OK(fourbit_dequantize(context, found, &to_plain));
    OK(fourbit_dequantize(context, found, &to_view));
    int equal = 1;
    for (int i = 0; i < A * B * C; ++i) {
        const int a = i / (B * C);
        const int b = i / C % B;
        equal &= decoded[i] == scattered[(i % C * B + (B - 1 - b)) * A + a];
    }
    CHECK(equal);
    memset(decoded, 0, A * B * C * sizeof *decoded);
    OK(fourbit_tensor_copy(context, &view, &to_plain));
    CHECK(memcmp(decoded, compact, A * B * C * sizeof *decoded) == 0);
    fourbit_weight_destroy(expected);
    fourbit_weight_destroy(found);
    free(turned);
    free(compact);
    free(decoded);
    free(scattered);
}

/* Rows that lie apart, at an odd address, and a dimension that is repeated by a stride of 0. */
static void unaligned_and_repeated(void) {
    enum { ROWS = 5, COLUMNS = 33, APART = 40 };
    uint8_t* memory = allocate(ROWS * APART * sizeof(uint16_t) + 1);
    uint16_t* compact = allocate(ROWS * COLUMNS * sizeof *compact);
    float* values = random_floats(ROWS * COLUMNS, 2, 4);
    for (int i = 0; i < ROWS * COLUMNS; ++i) {
        compact[i] = bf16_of(values[i]);
        memcpy(memory + 1 + (i / COLUMNS * APART + i % COLUMNS) * 2, &compact[i], 2);
    }
    const int64_t shape[2] = {ROWS, COLUMNS};
    const int64_t strides[2] = {APART, 1};
    const fourbit_tensor plain = tensor_of(compact, BF16, 2, shape);
    fourbit_tensor view = tensor_of(memory, BF16, 2, shape);
    view.strides = strides;
    view.byte_offset = 1;
    fourbit_weight* expected = quantize(&plain);
    fourbit_weight* found = quantize(&view);
    CHECK(same_bytes(expected, found));
    fourbit_weight_destroy(expected);
    fourbit_weight_destroy(found);

    for (int i = COLUMNS; i < ROWS * COLUMNS; ++i) {
        compact[i] = compact[i - COLUMNS];
    }
    const int64_t repeated[2] = {0, 1};
    view = plain;
    view.strides = repeated;
    expected = quantize(&plain);
    found = quantize(&view);
    CHECK(same_bytes(expected, found));
    FAILS(INVALID_ARGUMENT, "stride of 0", fourbit_dequantize(context, found, &view));
    fourbit_weight_destroy(expected);
    fourbit_weight_destroy(found);
    free(memory);
    free(compact);
    free(values);
}

/* Ranks 0 to 8, and tensors without elements. */
static void ranks(void) {
    float elements[64];
    for (int i = 0; i < 64; ++i) {
        elements[i] = (float)(i - 31) / 32;
    }
    const int64_t shape[9] = {2, 1, 2, 1, 2, 2, 2, 2, 1};
    for (int32_t rank = 0; rank <= FOURBIT_MAX_RANK; ++rank) {
        const fourbit_tensor tensor = tensor_of(elements, F32, rank, rank == 0 ? NULL : shape);
        fourbit_weight* weight = quantize(&tensor);
        fourbit_weight_info info;
        memset(&info, 0, sizeof info);
        info.struct_size = sizeof info;
        OK(fourbit_weight_query(weight, &info));
        uint64_t count = 1;
        for (int32_t d = 0; d < rank; ++d) {
            CHECK(info.shape[d] == shape[d]);
            count *= (uint64_t)shape[d];
        }
        CHECK(info.ndim == rank && info.element_count == count);
        fourbit_weight_destroy(weight);
    }
    const int64_t empty[2] = {0, 64};
    fourbit_tensor nothing = tensor_of(NULL, F32, 2, empty);
    fourbit_weight* weight = quantize(&nothing);
    OK(fourbit_dequantize(context, weight, &nothing));
    fourbit_weight_destroy(weight);
}

static void refused(void) {
    float elements[64] = {0};
    const int64_t shape[2] = {8, 8};
    const int64_t negative[2] = {8, -8};
    const int64_t huge[2] = {INT64_MAX, 2};
    const int64_t wide[2] = {INT64_MAX / 8, 1};
    fourbit_weight* out = NULL;
    fourbit_tensor tensor = tensor_of(elements, F32, -1, shape);
    FAILS(INVALID_ARGUMENT, "ndim is -1", fourbit_quantize(quantizer, &tensor, &out));
    tensor.ndim = 2;
    tensor.shape = NULL;
    FAILS(INVALID_ARGUMENT, "source.shape", fourbit_quantize(quantizer, &tensor, &out));
    tensor.shape = negative;
    FAILS(INVALID_ARGUMENT, "shape[1] is -8", fourbit_quantize(quantizer, &tensor, &out));
    tensor.shape = huge;
    FAILS(INVALID_ARGUMENT, "source", fourbit_quantize(quantizer, &tensor, &out));
    tensor.shape = shape;
    tensor.strides = wide;
    FAILS(INVALID_ARGUMENT, "address space", fourbit_quantize(quantizer, &tensor, &out));
    tensor.strides = NULL;
    tensor.byte_offset = UINT64_MAX - 3;
    FAILS(INVALID_ARGUMENT, "address space", fourbit_quantize(quantizer, &tensor, &out));
    tensor.byte_offset = 0;
    tensor.data = NULL;
    FAILS(INVALID_ARGUMENT, "source", fourbit_quantize(quantizer, &tensor, &out));
    tensor.data = elements;
    tensor.device.index = 1;
    FAILS(INVALID_ARGUMENT, "index 1", fourbit_quantize(quantizer, &tensor, &out));
    tensor.device.index = 0;
    const fourbit_dtype bad[] = {{0, 0, 0}, {2, 31, 1}, {2, 32, 4}, {99, 8, 1}, {2, 32, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
        tensor.dtype = bad[i];
        FAILS(DTYPE_UNSUPPORTED, "source", fourbit_quantize(quantizer, &tensor, &out));
    }
    const fourbit_dtype others[] = {{FOURBIT_DTYPE_CODE_FLOAT, 64, 1},
                                    {FOURBIT_DTYPE_CODE_BOOL, 8, 1},
                                    {FOURBIT_DTYPE_CODE_FLOAT8_E4M3FN, 8, 1},
                                    {FOURBIT_DTYPE_CODE_UINT, 16, 1}};
    for (size_t i = 0; i < sizeof others / sizeof *others; ++i) {
        tensor.dtype = others[i];
        FAILS(DTYPE_UNSUPPORTED, "source", fourbit_quantize(quantizer, &tensor, &out));
    }
    CHECK(out == NULL);
    tensor.dtype = F32;
    fourbit_tensor other = tensor_of(elements, I32, 2, shape);
    FAILS(DTYPE_UNSUPPORTED, "does not convert", fourbit_tensor_copy(context, &tensor, &other));
    other = tensor_of(elements, F32, 1, shape);
    FAILS(SHAPE_MISMATCH, "[8]", fourbit_tensor_copy(context, &tensor, &other));
}

/* A device of all zeros is the CPU: a struct need not say so. */
static void default_device(void) {
    float elements[64] = {1};
    const int64_t shape[1] = {64};
    fourbit_tensor tensor = tensor_of(elements, F32, 1, shape);
    tensor.device.kind = 0;
    fourbit_weight_destroy(quantize(&tensor));
    tensor.device.kind = FOURBIT_DEVICE_KIND_CUDA_HOST;
    fourbit_weight_destroy(quantize(&tensor));
}

int main(void) {
    context = new_context(2);
    quantizer = new_quantizer(context, FOURBIT_QUANT_TYPE_NF4, 32, 1);
    strided();
    unaligned_and_repeated();
    ranks();
    refused();
    default_device();
    fourbit_quantizer_destroy(quantizer);
    fourbit_context_destroy(context);
    return check_result();
}
