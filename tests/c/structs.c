/* Structs that cross the boundary: layouts, and struct_size from too short to too long. */
#include "check.h"

#include <stddef.h>

/* DLPack 1.0's structs, spelled out: no dlpack.h is needed to hold the promise. */
typedef struct {
    int32_t device_type;
    int32_t device_id;
} dl_device;
typedef struct {
    uint8_t code;
    uint8_t bits;
    uint16_t lanes;
} dl_data_type;
typedef struct {
    void* data;
    dl_device device;
    int32_t ndim;
    dl_data_type dtype;
    int64_t* shape;
    int64_t* strides;
    uint64_t byte_offset;
} dl_tensor;

#define SAME_PLACE(ours, our_field, theirs, their_field)                                           \
    _Static_assert(offsetof(ours, our_field) == offsetof(theirs, their_field) &&                   \
                       sizeof(((ours*)0)->our_field) == sizeof(((theirs*)0)->their_field),         \
                   #our_field)

SAME_PLACE(fourbit_device, kind, dl_device, device_type);
SAME_PLACE(fourbit_device, index, dl_device, device_id);
SAME_PLACE(fourbit_dtype, code, dl_data_type, code);
SAME_PLACE(fourbit_dtype, bits, dl_data_type, bits);
SAME_PLACE(fourbit_dtype, lanes, dl_data_type, lanes);
SAME_PLACE(fourbit_tensor, data, dl_tensor, data);
SAME_PLACE(fourbit_tensor, device, dl_tensor, device);
SAME_PLACE(fourbit_tensor, ndim, dl_tensor, ndim);
SAME_PLACE(fourbit_tensor, dtype, dl_tensor, dtype);
SAME_PLACE(fourbit_tensor, shape, dl_tensor, shape);
SAME_PLACE(fourbit_tensor, strides, dl_tensor, strides);
SAME_PLACE(fourbit_tensor, byte_offset, dl_tensor, byte_offset);
_Static_assert(sizeof(fourbit_tensor) == sizeof(dl_tensor), "DLTensor");
_Static_assert(sizeof(fourbit_dtype) == 4 && sizeof(fourbit_device) == 8, "DLDataType, DLDevice");

/* Codes are DLPack's too: kDLInt, kDLUInt, kDLFloat, kDLBfloat, kDLBool; kDLCPU, kDLCUDA,
 * kDLCUDAHost. */
_Static_assert(FOURBIT_DTYPE_CODE_INT == 0 && FOURBIT_DTYPE_CODE_UINT == 1, "codes");
_Static_assert(FOURBIT_DTYPE_CODE_FLOAT == 2 && FOURBIT_DTYPE_CODE_BFLOAT == 4, "codes");
_Static_assert(FOURBIT_DTYPE_CODE_BOOL == 6, "codes");
_Static_assert(FOURBIT_DEVICE_KIND_CPU == 1 && FOURBIT_DEVICE_KIND_CUDA == 2, "devices");
_Static_assert(FOURBIT_DEVICE_KIND_CUDA_HOST == 3, "devices");

/* Every struct that grows starts with its size. */
_Static_assert(offsetof(fourbit_context_config, struct_size) == 0, "first");
_Static_assert(offsetof(fourbit_quant_config, struct_size) == 0, "first");
_Static_assert(offsetof(fourbit_quantizer_info, struct_size) == 0, "first");
_Static_assert(offsetof(fourbit_weight_info, struct_size) == 0, "first");
_Static_assert(offsetof(fourbit_gemm_config, struct_size) == 0, "first");
_Static_assert(offsetof(fourbit_quant_error, struct_size) == 0, "first");
_Static_assert(offsetof(fourbit_device_info, struct_size) == 0, "first");
_Static_assert(offsetof(fourbit_checkpoint_entry, struct_size) == 0, "first");
_Static_assert(offsetof(fourbit_plan_config, struct_size) == 0, "first");
_Static_assert(offsetof(fourbit_plan_entry, struct_size) == 0, "first");
_Static_assert(offsetof(fourbit_plan_totals, struct_size) == 0, "first");
_Static_assert(offsetof(fourbit_load_config, struct_size) == 0, "first");
_Static_assert(offsetof(fourbit_model_entry, struct_size) == 0, "first");
_Static_assert(offsetof(fourbit_save_config, struct_size) == 0, "first");
_Static_assert(offsetof(fourbit_progress, struct_size) == 0, "first");

static fourbit_context* context;

/* A config with room behind it, all zero but the size. */
typedef union {
    fourbit_quant_config known;
    uint8_t bytes[8192];
} roomy_config;

static void config_sizes(void) {
    roomy_config* config = allocate(sizeof *config);
    fourbit_quantizer* quantizer = NULL;
    const uint32_t bad[] = {0, 1, 3, 4097, UINT32_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; ++i) {
        config->known.struct_size = bad[i];
        FAILS(INVALID_ARGUMENT, "sizeof(fourbit_quant_config)",
              fourbit_quantizer_create(context, &config->known, &quantizer));
    }
    /* Shorter: the rest counts as zero, whatever lies there. */
    const uint32_t shorter = offsetof(fourbit_quant_config, double_quant);
    config->known.quant_type = FOURBIT_QUANT_TYPE_FP4;
    config->known.double_quant = 77;
    config->known.struct_size = shorter;
    fourbit_quantizer_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    NEED(fourbit_quantizer_create(context, &config->known, &quantizer));
    OK(fourbit_quantizer_query(quantizer, &info));
    CHECK(info.quant_type == FOURBIT_QUANT_TYPE_FP4 && info.double_quant == 0);
    fourbit_quantizer_destroy(quantizer);
    config->known.double_quant = 1;
    /* Longer: taken if the unknown rest is zero. */
    config->known.struct_size = 4096;
    NEED(fourbit_quantizer_create(context, &config->known, &quantizer));
    fourbit_quantizer_destroy(quantizer);
    config->bytes[4095] = 1;
    FAILS(UNSUPPORTED, "fourbit_quant_config",
          fourbit_quantizer_create(context, &config->known, &quantizer));
    free(config);
}

static void result_sizes(void) {
    fourbit_quantizer* quantizer = new_quantizer(context, FOURBIT_QUANT_TYPE_NF4, 128, 1);
    union {
        fourbit_quantizer_info known;
        uint8_t bytes[sizeof(fourbit_quantizer_info) + 64];
    } info;
    /* Shorter: nothing is written beyond what was stated. */
    memset(&info, 0xAA, sizeof info);
    info.known.struct_size = offsetof(fourbit_quantizer_info, double_quant);
    OK(fourbit_quantizer_query(quantizer, &info.known));
    CHECK(info.known.block_size == 128 && info.known.double_quant == 0xAAAAAAAA);
    CHECK(info.known.struct_size == offsetof(fourbit_quantizer_info, double_quant));
    /* Longer: the unknown rest is left alone. */
    memset(&info, 0xAA, sizeof info);
    info.known.struct_size = sizeof info;
    OK(fourbit_quantizer_query(quantizer, &info.known));
    CHECK(info.known.struct_size == sizeof info && info.known.double_quant == 1);
    CHECK(info.bytes[sizeof(fourbit_quantizer_info)] == 0xAA);
    info.known.struct_size = 0;
    FAILS(INVALID_ARGUMENT, "struct_size is 0", fourbit_quantizer_query(quantizer, &info.known));
    fourbit_quantizer_destroy(quantizer);
}

/* Values that no enum has, and flags that are neither 0 nor 1. */
static void bad_values(void) {
    fourbit_quantizer* quantizer = NULL;
    fourbit_quant_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.quant_type = 2;
    FAILS(INVALID_ARGUMENT, "quant_type is 2",
          fourbit_quantizer_create(context, &config, &quantizer));
    config.quant_type = 0;
    const uint32_t sizes[] = {1, 16, 31, 63, 65, 96, 8192, UINT32_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
        config.block_size = sizes[i];
        FAILS(INVALID_ARGUMENT, "block size",
              fourbit_quantizer_create(context, &config, &quantizer));
    }
    config.block_size = 4096;
    config.double_quant = 2;
    FAILS(INVALID_ARGUMENT, "double_quant is 2",
          fourbit_quantizer_create(context, &config, &quantizer));
    config.double_quant = 0;
    config.rule = 3;
    FAILS(INVALID_ARGUMENT, "rule is 3", fourbit_quantizer_create(context, &config, &quantizer));
    config.rule = 0;
    config.storage = I32;
    FAILS(DTYPE_UNSUPPORTED, "storage", fourbit_quantizer_create(context, &config, &quantizer));
    config.storage = U8;
    config.compute_dtype = U8;
    FAILS(DTYPE_UNSUPPORTED, "compute_dtype",
          fourbit_quantizer_create(context, &config, &quantizer));
    config.compute_dtype = F16;
    config.skip_module_count = 1;
    FAILS(INVALID_ARGUMENT, "skip_modules", fourbit_quantizer_create(context, &config, &quantizer));
    CHECK(quantizer == NULL);

    fourbit_context* made = NULL;
    fourbit_context_config threads;
    memset(&threads, 0, sizeof threads);
    threads.struct_size = sizeof threads;
    threads.num_threads = 100000;
    FAILS(INVALID_ARGUMENT, "threads", fourbit_context_create(&threads, &made));
    threads.num_threads = 1;
    threads.cpu_isa_max = 99;
    FAILS(INVALID_ARGUMENT, "cpu_isa_max is 99", fourbit_context_create(&threads, &made));
    threads.cpu_isa_max = 0;
    threads.device.kind = 77;
    FAILS(INVALID_ARGUMENT, "kind 77", fourbit_context_create(&threads, &made));
    threads.device.kind = 0;
    threads.cuda_stream = &threads;
    FAILS(INVALID_ARGUMENT, "cuda_stream", fourbit_context_create(&threads, &made));
    uint32_t count = 7;
    FAILS(INVALID_ARGUMENT, "kind is 9", fourbit_device_count(9, &count));
    CHECK(made == NULL && count == 7);
}

static void versions(void) {
    CHECK(fourbit_abi_version() == FOURBIT_ABI_VERSION);
    CHECK(fourbit_version() ==
          FOURBIT_VERSION_MAJOR * 10000 + FOURBIT_VERSION_MINOR * 100 + FOURBIT_VERSION_PATCH);
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", FOURBIT_VERSION_MAJOR, FOURBIT_VERSION_MINOR,
             FOURBIT_VERSION_PATCH);
    CHECK(strncmp(fourbit_build_info(), version, strlen(version)) == 0);
    CHECK((fourbit_cpu_features() & 1U << FOURBIT_CPU_ISA_PORTABLE) != 0);
    fourbit_device_info info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    const fourbit_device cpu = {FOURBIT_DEVICE_KIND_CPU, 0};
    uint32_t count = 0;
    OK(fourbit_device_count(FOURBIT_DEVICE_KIND_CPU, &count));
    OK(fourbit_device_query(cpu, &info));
    CHECK(count == 1 && info.processors > 0 && info.name[0] != '\0');
    CHECK(memchr(info.name, 0, sizeof info.name) != NULL);
}

int main(void) {
    context = new_context(1);
    config_sizes();
    result_sizes();
    bad_values();
    versions();
    fourbit_context_destroy(context);
    return check_result();
}
