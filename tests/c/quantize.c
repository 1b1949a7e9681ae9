/* Quantizing and decoding, against an independent reading of the format: the packed codes, the
 * absmax values and the quant map of a weight are decoded here, in doubles. */
#include "check.h"
#include "halves.h"

#include <math.h>

static fourbit_context* context;

/* The half widest gap between neighbouring codes: what rounding to the nearest code can cost. */
static double half_gap(const float* map) {
    double sorted[16];
    for (int i = 0; i < 16; ++i) {
        int at = i;
        for (; at > 0 && sorted[at - 1] > (double)map[i]; --at) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = (double)map[i];
    }
    double widest = 0;
    for (int i = 1; i < 16; ++i) {
        widest = fmax(widest, sorted[i] - sorted[i - 1]);
    }
    return widest / 2;
}

static const void* part(const fourbit_weight* weight, const char* wanted) {
    size_t count = 0;
    NEED(fourbit_weight_part_count(weight, &count));
    for (size_t i = 0; i < count; ++i) {
        const char* name = NULL;
        fourbit_tensor view;
        NEED(fourbit_weight_part(weight, i, &name, &view));
        if (strcmp(name, wanted) == 0) {
            return view.data;
        }
    }
    return NULL;
}

/* The largest of |values| in every block, and what the codes say, against what comes out. */
static void check_weight(const fourbit_weight* weight, const float* source, const float* decoded,
                         size_t count, size_t block) {
    const uint8_t* codes = part(weight, "");
    const float* absmax = part(weight, "absmax");
    const float* map = part(weight, "quant_map");
    if (!CHECK(codes != NULL && absmax != NULL && map != NULL)) {
        return;
    }
    const double allowed = half_gap(map);
    int scales = 1;
    int values = 1;
    int near = 1;
    for (size_t first = 0; first < count; first += block) {
        const size_t last = first + block < count ? first + block : count;
        float largest = 0;
        for (size_t i = first; i < last; ++i) {
            largest = fmaxf(largest, fabsf(source[i]));
        }
        scales &= absmax[first / block] == largest;
        for (size_t i = first; i < last; ++i) {
            const unsigned code = i % 2 == 0 ? codes[i / 2] >> 4 : codes[i / 2] & 15;
            values &= decoded[i] == map[code] * largest;
            const double error = fabs((double)decoded[i] - (double)source[i]);
            near &= error <= allowed * (double)largest * (1 + 1e-6);
        }
    }
    CHECK(scales);
    CHECK(values);
    CHECK(near);
}

static void quantize_one(uint32_t quant_type, uint32_t block, size_t count) {
    fourbit_quantizer* quantizer = new_quantizer(context, quant_type, block, 0);
    float* source = random_floats(count, 3, block + count);
    float* decoded = allocate(count * sizeof *decoded);
    const int64_t shape[1] = {(int64_t)count};
    const fourbit_tensor from = tensor_of(source, F32, 1, shape);
    const fourbit_tensor to = tensor_of(decoded, F32, 1, shape);
    fourbit_weight* weight = NULL;
    NEED(fourbit_quantize(quantizer, &from, &weight));
    NEED(fourbit_dequantize(context, weight, &to));
    check_weight(weight, source, decoded, count, block);

    /* What was decoded quantizes to itself (FP4 has two codes for zero, so codes may differ). */
    fourbit_weight* again = NULL;
    float* twice = allocate(count * sizeof *twice);
    const fourbit_tensor to_twice = tensor_of(twice, F32, 1, shape);
    NEED(fourbit_quantize(quantizer, &to, &again));
    NEED(fourbit_dequantize(context, again, &to_twice));
    int itself = 1;
    for (size_t i = 0; i < count; ++i) {
        itself &= twice[i] == decoded[i];
    }
    CHECK(itself);
    free(twice);
    fourbit_weight_destroy(again);
    fourbit_weight_destroy(weight);
    fourbit_quantizer_destroy(quantizer);
    free(source);
    free(decoded);
}

/* 16-bit sources and destinations, against the float32 ones. */
static void dtypes(void) {
    enum { N = 1000 };
    float* values = random_floats(N, 1, 11);
    uint16_t bf16[N], f16[N];
    float from_bf16[N], from_f16[N];
    for (int i = 0; i < N; ++i) {
        bf16[i] = bf16_of(values[i]);
        from_bf16[i] = (float)bf16_value(bf16[i]);
        f16[i] = f16_of(values[i]);
        from_f16[i] = (float)f16_value(f16[i]);
    }
    fourbit_quantizer* quantizer = new_quantizer(context, FOURBIT_QUANT_TYPE_NF4, 64, 0);
    const int64_t shape[2] = {10, N / 10};
    const struct {
        void* half;
        fourbit_dtype dtype;
        float* widened;
    } cases[] = {{bf16, BF16, from_bf16}, {f16, F16, from_f16}};
    for (int i = 0; i < 2; ++i) {
        const fourbit_tensor half = tensor_of(cases[i].half, cases[i].dtype, 2, shape);
        const fourbit_tensor wide = tensor_of(cases[i].widened, F32, 2, shape);
        fourbit_weight* a = NULL;
        fourbit_weight* b = NULL;
        NEED(fourbit_quantize(quantizer, &half, &a));
        NEED(fourbit_quantize(quantizer, &wide, &b));
        CHECK(memcmp(part(a, ""), part(b, ""), N / 2) == 0);
        fourbit_weight_info info;
        memset(&info, 0, sizeof info);
        info.struct_size = sizeof info;
        OK(fourbit_weight_query(a, &info));
        CHECK(memcmp(&info.dtype, &cases[i].dtype, sizeof info.dtype) == 0);
        /* Decoded to 16 bits: the float32 value, rounded. */
        OK(fourbit_dequantize(context, a, &half));
        OK(fourbit_dequantize(context, a, &wide));
        int rounded = 1;
        for (int j = 0; j < N; ++j) {
            const uint16_t expected =
                i == 0 ? bf16_of(cases[i].widened[j]) : f16_of(cases[i].widened[j]);
            /* f16_of flushes subnormals, the library does not. */
            const int tiny = i == 1 && fabsf(cases[i].widened[j]) < 6.2e-5f;
            rounded &= tiny || ((uint16_t*)cases[i].half)[j] == expected;
        }
        CHECK(rounded);
        fourbit_weight_destroy(a);
        fourbit_weight_destroy(b);
    }
    fourbit_quantizer_destroy(quantizer);
    free(values);
}

/* The measures, recomputed. */
static void measures(void) {
    enum { N = 5000 };
    fourbit_quantizer* quantizer = new_quantizer(context, FOURBIT_QUANT_TYPE_FP4, 256, 1);
    float* source = random_floats(N, 1, 5);
    float decoded[N];
    const int64_t shape[1] = {N};
    const fourbit_tensor from = tensor_of(source, F32, 1, shape);
    const fourbit_tensor to = tensor_of(decoded, F32, 1, shape);
    fourbit_weight* weight = NULL;
    NEED(fourbit_quantize(quantizer, &from, &weight));
    NEED(fourbit_dequantize(context, weight, &to));
    double largest = 0, sum = 0, squares = 0, signal = 0;
    for (int i = 0; i < N; ++i) {
        const double difference = fabs((double)source[i] - (double)decoded[i]);
        largest = fmax(largest, difference);
        sum += difference;
        squares += difference * difference;
        signal += (double)source[i] * (double)source[i];
    }
    fourbit_quant_error error;
    memset(&error, 0, sizeof error);
    error.struct_size = sizeof error;
    OK(fourbit_quant_measure(context, &from, weight, &error));
    CHECK(error.count == N && fabs(error.max_error - largest) < 1e-9);
    CHECK(fabs(error.mean_error - sum / N) < 1e-9);
    CHECK(fabs(error.rms_error - sqrt(squares / N)) < 1e-9);
    CHECK(fabs(error.snr_db - 10 * log10(signal / squares)) < 1e-6);
    fourbit_weight_destroy(weight);
    fourbit_quantizer_destroy(quantizer);
    free(source);
}

/* Sizes known before quantizing are those of the parts. */
static void sizes(void) {
    for (uint32_t double_quant = 0; double_quant < 2; ++double_quant) {
        fourbit_quantizer* quantizer =
            new_quantizer(context, FOURBIT_QUANT_TYPE_NF4, 64, double_quant);
        fourbit_weight* weight = random_weight(quantizer, 37, 91, 8);
        uint64_t expected = 0;
        OK(fourbit_quant_sizes(quantizer, 37 * 91, &expected));
        size_t count = 0;
        uint64_t found = 0;
        OK(fourbit_weight_part_count(weight, &count));
        CHECK(count == (double_quant ? 6 : 4));
        for (size_t i = 0; i < count; ++i) {
            const char* name = NULL;
            fourbit_tensor view;
            NEED(fourbit_weight_part(weight, i, &name, &view));
            uint64_t bytes = view.dtype.bits / 8;
            for (int32_t d = 0; d < view.ndim; ++d) {
                bytes *= (uint64_t)view.shape[d];
            }
            found += strncmp(name, "quant_state", 11) == 0 ? 0 : bytes;
        }
        CHECK(expected == found);
        fourbit_weight_destroy(weight);
        fourbit_quantizer_destroy(quantizer);
    }
}

int main(void) {
    context = new_context(2);
    for (uint32_t type = FOURBIT_QUANT_TYPE_NF4; type <= FOURBIT_QUANT_TYPE_FP4; ++type) {
        for (uint32_t block = 32; block <= 4096; block *= 2) {
            quantize_one(type, block, 2 * block);
            quantize_one(type, block, 3 * block + 1);
            quantize_one(type, block, 1);
        }
        quantize_one(type, 64, 200000);
    }
    dtypes();
    measures();
    sizes();
    fourbit_context_destroy(context);
    return check_result();
}
