/*
 * fourbit.h - 4-bit weights (NF4, FP4) as transformers and bitsandbytes write and read them.
 * Generated from src/ffi by cbindgen: change the Rust, then run `make header`.
 *
 * Conventions (docs/c-api.md has them in full):
 *  - Every fallible function returns a fourbit_status; outputs are written only on success.
 *    fourbit_last_error() has the words.
 *  - Whatever comes out through `out` is the caller's, to give back once with the matching
 *    _destroy. Borrowed results live as long as their handle. Objects keep alive what they use.
 *  - A function that takes a handle as const may run on any number of threads at once with the
 *    same handle; the others and _destroy need it alone.
 *  - Structs that start with `struct_size` grow: set it to sizeof, zero the rest for defaults.
 */

#ifndef FOURBIT_FOURBIT_H
#define FOURBIT_FOURBIT_H

#include <stddef.h>
#include <stdint.h>
#define FOURBIT_VERSION_MAJOR 0
#define FOURBIT_VERSION_MINOR 1
#define FOURBIT_VERSION_PATCH 0

#if defined(_WIN32) && !defined(FOURBIT_STATIC)
#  define FOURBIT_API __declspec(dllimport)
#else
#  define FOURBIT_API
#endif

#if defined(__GNUC__) || defined(__clang__)
#  define FOURBIT_NODISCARD __attribute__((warn_unused_result))
#else
#  define FOURBIT_NODISCARD
#endif

/* From dlpack.h, for callers that use it. */
struct DLManagedTensorVersioned;


/**
 * The number of the binary interface, and of the SONAME. It moves when a program built against
 * an older header could break.
 */
#define FOURBIT_ABI_VERSION 0

/**
 * The alignment in bytes of every allocation the library makes, and the one kernels like best.
 */
#define FOURBIT_ALIGNMENT 64

/**
 * The largest rank of a tensor.
 */
#define FOURBIT_MAX_RANK 8

/**
 * output = input · W instead of input · Wᵀ: the gradient with respect to the input.
 */
#define FOURBIT_GEMM_TRANSPOSE 1

/**
 * Add to what the output holds.
 */
#define FOURBIT_GEMM_ACCUMULATE 2

/**
 * Exact float32 products for every batch size, also where bfloat16 inputs would allow weights
 * rounded to bfloat16.
 */
#define FOURBIT_GEMM_EXACT 4

/**
 * What happened. Zero is success; any other value is a failure, which leaves outputs untouched.
 * Numbers are never reused, and new ones may appear: treat an unknown one as a failure.
 */
enum fourbit_status
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Done.
     */
    FOURBIT_STATUS_OK = 0,
    /**
     * A required pointer was NULL, or a value was out of its range.
     */
    FOURBIT_STATUS_INVALID_ARGUMENT = 1,
    /**
     * Not a live handle of that type.
     */
    FOURBIT_STATUS_INVALID_HANDLE = 2,
    /**
     * Shapes do not fit each other.
     */
    FOURBIT_STATUS_SHAPE_MISMATCH = 3,
    /**
     * An element type that the operation does not take.
     */
    FOURBIT_STATUS_DTYPE_UNSUPPORTED = 4,
    /**
     * A tensor lives on another device than the context.
     */
    FOURBIT_STATUS_DEVICE_MISMATCH = 5,
    /**
     * No such device, or no driver for it.
     */
    FOURBIT_STATUS_DEVICE_UNAVAILABLE = 6,
    /**
     * The device reported an error.
     */
    FOURBIT_STATUS_DEVICE_ERROR = 7,
    /**
     * Memory could not be allocated.
     */
    FOURBIT_STATUS_OUT_OF_MEMORY = 8,
    /**
     * The operating system refused a file operation.
     */
    FOURBIT_STATUS_IO = 9,
    /**
     * A file or serialized object is malformed.
     */
    FOURBIT_STATUS_FORMAT = 10,
    /**
     * No entry of that name or index.
     */
    FOURBIT_STATUS_NOT_FOUND = 11,
    /**
     * The buffer is too small; the needed size was written. Call again with that much room.
     */
    FOURBIT_STATUS_BUFFER_TOO_SMALL = 12,
    /**
     * Not built in, not supported, or a struct carries fields that this version does not know.
     */
    FOURBIT_STATUS_UNSUPPORTED = 13,
    /**
     * The call is not allowed in the object's present state.
     */
    FOURBIT_STATUS_INVALID_STATE = 14,
    /**
     * A callback asked to stop.
     */
    FOURBIT_STATUS_CANCELLED = 15,
    /**
     * A bug in the library. Destroy the handles of the call; the process may go on.
     */
    FOURBIT_STATUS_PANIC = 16,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fourbit_status fourbit_status;
#else
typedef int32_t fourbit_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What an entry of a checkpoint is.
 */
enum fourbit_checkpoint_entry_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * A plain tensor: fourbit_checkpoint_tensor.
     */
    FOURBIT_CHECKPOINT_ENTRY_KIND_TENSOR = 0,
    /**
     * A quantized weight, its statistics included: fourbit_checkpoint_weight.
     */
    FOURBIT_CHECKPOINT_ENTRY_KIND_WEIGHT = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fourbit_checkpoint_entry_kind fourbit_checkpoint_entry_kind;
#else
typedef uint32_t fourbit_checkpoint_entry_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Instruction sets of a CPU, as the caps that fourbit_context_config takes and the bits that
 * fourbit_cpu_features returns (bit n for number n).
 */
enum fourbit_cpu_isa
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Whatever the machine has.
     */
    FOURBIT_CPU_ISA_BEST = 0,
    /**
     * Plain Rust.
     */
    FOURBIT_CPU_ISA_PORTABLE = 1,
    /**
     * x86: AVX2, FMA and F16C.
     */
    FOURBIT_CPU_ISA_AVX2 = 2,
    /**
     * x86: AVX-512 F, BW, DQ and VL.
     */
    FOURBIT_CPU_ISA_AVX512 = 3,
    /**
     * x86: AVX-512 with bfloat16 dot products.
     */
    FOURBIT_CPU_ISA_AVX512_BF16 = 4,
    /**
     * x86: AMX tiles with bfloat16.
     */
    FOURBIT_CPU_ISA_AMX = 5,
    /**
     * Arm: Advanced SIMD.
     */
    FOURBIT_CPU_ISA_NEON = 6,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fourbit_cpu_isa fourbit_cpu_isa;
#else
typedef uint32_t fourbit_cpu_isa;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Where memory lives. The numbers are DLPack's DLDeviceType.
 */
enum fourbit_device_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Ordinary memory.
     */
    FOURBIT_DEVICE_KIND_CPU = 1,
    /**
     * A CUDA device.
     */
    FOURBIT_DEVICE_KIND_CUDA = 2,
    /**
     * Host memory pinned for CUDA.
     */
    FOURBIT_DEVICE_KIND_CUDA_HOST = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fourbit_device_kind fourbit_device_kind;
#else
typedef int32_t fourbit_device_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Element type codes. The numbers are DLPack's DLDataTypeCode.
 */
enum fourbit_dtype_code
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint8_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Signed integer.
     */
    FOURBIT_DTYPE_CODE_INT = 0,
    /**
     * Unsigned integer.
     */
    FOURBIT_DTYPE_CODE_UINT = 1,
    /**
     * IEEE 754 float.
     */
    FOURBIT_DTYPE_CODE_FLOAT = 2,
    /**
     * bfloat16.
     */
    FOURBIT_DTYPE_CODE_BFLOAT = 4,
    /**
     * Boolean, one byte.
     */
    FOURBIT_DTYPE_CODE_BOOL = 6,
    /**
     * 8-bit float, 4 exponent bits.
     */
    FOURBIT_DTYPE_CODE_FLOAT8_E4M3FN = 10,
    /**
     * 8-bit float, 5 exponent bits.
     */
    FOURBIT_DTYPE_CODE_FLOAT8_E5M2 = 12,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fourbit_dtype_code fourbit_dtype_code;
#else
typedef uint8_t fourbit_dtype_code;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * How important a message is; a lower number is more important.
 */
enum fourbit_log_level
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Nothing.
     */
    FOURBIT_LOG_LEVEL_OFF = 0,
    /**
     * Something is likely not as the caller wishes.
     */
    FOURBIT_LOG_LEVEL_WARNING = 1,
    /**
     * Choices made once: the instruction set, the number of threads.
     */
    FOURBIT_LOG_LEVEL_INFO = 2,
    /**
     * Steps of long operations.
     */
    FOURBIT_LOG_LEVEL_DEBUG = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fourbit_log_level fourbit_log_level;
#else
typedef uint32_t fourbit_log_level;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What a long operation is doing.
 */
enum fourbit_phase
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Reading weights for their absmax values, on which the layout of a double-quantized
     * checkpoint depends.
     */
    FOURBIT_PHASE_SCAN = 0,
    /**
     * Converting and writing.
     */
    FOURBIT_PHASE_WRITE = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fourbit_phase fourbit_phase;
#else
typedef uint32_t fourbit_phase;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What happens to a tensor.
 */
enum fourbit_plan_action
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * It is stored as `dtype`.
     */
    FOURBIT_PLAN_ACTION_KEEP = 0,
    /**
     * It is cast to `dtype` and quantized.
     */
    FOURBIT_PLAN_ACTION_QUANTIZE = 1,
    /**
     * It is cast to `dtype`, transposed (GPT-2's Conv1D stores [in, out]) and quantized.
     */
    FOURBIT_PLAN_ACTION_QUANTIZE_TRANSPOSED = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fourbit_plan_action fourbit_plan_action;
#else
typedef uint32_t fourbit_plan_action;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * What becomes of the per-expert linear layers of a mixture.
 */
enum fourbit_plan_experts
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * As the profile's version does.
     */
    FOURBIT_PLAN_EXPERTS_AUTO = 0,
    /**
     * Keep them in 16 bits.
     */
    FOURBIT_PLAN_EXPERTS_SIXTEEN_BIT = 1,
    /**
     * Convert them: transformers 4, vLLM and SGLang read the result, transformers 5 does not.
     */
    FOURBIT_PLAN_EXPERTS_FOUR_BIT = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fourbit_plan_experts fourbit_plan_experts;
#else
typedef uint32_t fourbit_plan_experts;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * Whose rules decide which modules are converted.
 */
enum fourbit_plan_profile
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * Only what transformers 4.57 and 5.23 both convert, with an explicit skip list: the result
     * loads everywhere.
     */
    FOURBIT_PLAN_PROFILE_PORTABLE = 0,
    /**
     * transformers 4.57.
     */
    FOURBIT_PLAN_PROFILE_V4 = 1,
    /**
     * transformers 5.23.
     */
    FOURBIT_PLAN_PROFILE_V5 = 2,
    /**
     * transformers 4.41.
     */
    FOURBIT_PLAN_PROFILE_V441 = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fourbit_plan_profile fourbit_plan_profile;
#else
typedef uint32_t fourbit_plan_profile;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * bitsandbytes decides a few codes differently on a CPU and on CUDA.
 */
enum fourbit_quant_rule
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * What bitsandbytes does on the context's device.
     */
    FOURBIT_QUANT_RULE_DEFAULT = 0,
    /**
     * bitsandbytes on a CPU.
     */
    FOURBIT_QUANT_RULE_BNB_CPU = 1,
    /**
     * bitsandbytes on CUDA.
     */
    FOURBIT_QUANT_RULE_BNB_CUDA = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fourbit_quant_rule fourbit_quant_rule;
#else
typedef uint32_t fourbit_quant_rule;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * 4-bit data types.
 */
enum fourbit_quant_type
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : uint32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    /**
     * NormalFloat4.
     */
    FOURBIT_QUANT_TYPE_NF4 = 0,
    /**
     * 4-bit float.
     */
    FOURBIT_QUANT_TYPE_FP4 = 1,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum fourbit_quant_type fourbit_quant_type;
#else
typedef uint32_t fourbit_quant_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * An open checkpoint: its headers are checked, its data mapped. Any number of threads may use
 * one.
 */
typedef struct fourbit_checkpoint fourbit_checkpoint;

/**
 * One device and the threads that serve it. Any number of threads may use one context at once.
 */
typedef struct fourbit_context fourbit_context;

/**
 * What happens to every tensor of a checkpoint, and why. Any number of threads may use one.
 */
typedef struct fourbit_plan fourbit_plan;

/**
 * A validated 4-bit configuration on a context. Any number of threads may use one.
 */
typedef struct fourbit_quantizer fourbit_quantizer;

/**
 * A 4-bit weight: packed codes and quant state. Immutable; any number of threads may use one.
 */
typedef struct fourbit_weight fourbit_weight;

/**
 * A checkpoint being put together. Used by one thread at a time.
 */
typedef struct fourbit_writer fourbit_writer;

/**
 * Receives a message. `text` is valid during the call only. May be called from any thread, also
 * from several at once; must not call the library.
 */
typedef void (*fourbit_log_fn)(void *user, uint32_t level, const char *text);

/**
 * A device. Same layout as DLPack's DLDevice. All zero means the CPU.
 */
typedef struct fourbit_device {
    /**
     * A fourbit_device_kind, or 0.
     */
    int32_t kind;
    /**
     * The ordinal; 0 for the CPU.
     */
    int32_t index;
} fourbit_device;

/**
 * An element type. Same layout as DLPack's DLDataType. All zero means "the default" where an
 * option asks for one.
 */
typedef struct fourbit_dtype {
    /**
     * A fourbit_dtype_code.
     */
    uint8_t code;
    /**
     * Bits per element.
     */
    uint8_t bits;
    /**
     * 1.
     */
    uint16_t lanes;
} fourbit_dtype;

/**
 * A view of someone's memory; it owns nothing. Same layout as DLPack's DLTensor, so a pointer to
 * one may be passed as the other.
 *
 * Element 0 is at (char *)data + byte_offset. `strides` count elements; NULL means compact
 * row-major. Any alignment is accepted; FOURBIT_ALIGNMENT is the fast case. Rank 0 to 8. Inputs
 * are only read.
 */
typedef struct fourbit_tensor {
    /**
     * The memory.
     */
    void *data;
    /**
     * Where the memory is. All zero is taken for the CPU.
     */
    struct fourbit_device device;
    /**
     * Number of dimensions.
     */
    int32_t ndim;
    /**
     * Element type.
     */
    struct fourbit_dtype dtype;
    /**
     * `ndim` sizes, outermost first. May be NULL for rank 0.
     */
    const int64_t *shape;
    /**
     * `ndim` distances in elements, or NULL.
     */
    const int64_t *strides;
    /**
     * Added to `data`.
     */
    uint64_t byte_offset;
} fourbit_tensor;

/**
 * What a device is.
 */
typedef struct fourbit_device_info {
    /**
     * sizeof(fourbit_device_info), set by the caller.
     */
    uint32_t struct_size;
    /**
     * Processors that the process may use, or multiprocessors.
     */
    uint32_t processors;
    /**
     * Bytes of memory.
     */
    uint64_t memory_total;
    /**
     * Bytes of memory available now.
     */
    uint64_t memory_available;
    /**
     * A name for people; NUL-terminated.
     */
    char name[64];
} fourbit_device_info;

/**
 * Runs `count` tasks: calls `task(task_data, index)` once for every index below `count`, on any
 * threads and in any order, and returns when all have returned.
 */
typedef void (*fourbit_parallel_for_fn)(void *user,
                                        size_t count,
                                        void (*task)(void *task_data, size_t index),
                                        void *task_data);

/**
 * How a context is made. All zero: the CPU, one thread per processor, own threads.
 */
typedef struct fourbit_context_config {
    /**
     * sizeof(fourbit_context_config).
     */
    uint32_t struct_size;
    /**
     * Threads that work on a call, the caller's included. 0: one per processor the process may
     * use. 1: no threads are started.
     */
    uint32_t num_threads;
    /**
     * The device. All zero: the CPU.
     */
    struct fourbit_device device;
    /**
     * The best instruction set to use (a fourbit_cpu_isa); 0: what the machine has, up to
     * FOURBIT_CPU_ISA_MAX in the environment.
     */
    uint32_t cpu_isa_max;
    /**
     * Must be zero.
     */
    uint32_t reserved;
    /**
     * Runs the library's tasks on the caller's threads instead of its own; NULL: own threads.
     * Results have the same bits either way.
     */
    fourbit_parallel_for_fn parallel_for;
    /**
     * First argument of `parallel_for`.
     */
    void *parallel_for_user;
    /**
     * A CUstream; for CUDA contexts only.
     */
    void *cuda_stream;
} fourbit_context_config;

/**
 * How to quantize. All zero: NF4, block size 64, no double quantization, uint8 storage, bfloat16
 * compute dtype.
 */
typedef struct fourbit_quant_config {
    /**
     * sizeof(fourbit_quant_config).
     */
    uint32_t struct_size;
    /**
     * A fourbit_quant_type.
     */
    uint32_t quant_type;
    /**
     * Elements per absmax: 32, 64, …, 4096; 0: 64.
     */
    uint32_t block_size;
    /**
     * 1: quantize the absmax values to 8 bits.
     */
    uint32_t double_quant;
    /**
     * A fourbit_quant_rule.
     */
    uint32_t rule;
    /**
     * bnb_4bit_compute_dtype, for configs written; all zero: bfloat16.
     */
    struct fourbit_dtype compute_dtype;
    /**
     * The dtype packed bytes are labelled with; all zero: uint8.
     */
    struct fourbit_dtype storage;
    /**
     * 1: llm_int8_enable_fp32_cpu_offload.
     */
    uint32_t fp32_cpu_offload;
    /**
     * llm_int8_skip_modules: `skip_module_count` names, or NULL for transformers' own choice.
     */
    const char *const *skip_modules;
    /**
     * The number of names.
     */
    size_t skip_module_count;
} fourbit_quant_config;

/**
 * What a quantizer is.
 */
typedef struct fourbit_quantizer_info {
    /**
     * sizeof(fourbit_quantizer_info), set by the caller.
     */
    uint32_t struct_size;
    /**
     * A fourbit_quant_type.
     */
    uint32_t quant_type;
    /**
     * Elements per absmax.
     */
    uint32_t block_size;
    /**
     * 1 with double quantization.
     */
    uint32_t double_quant;
    /**
     * The fourbit_quant_rule in force (never Default).
     */
    uint32_t rule;
    /**
     * bnb_4bit_compute_dtype.
     */
    struct fourbit_dtype compute_dtype;
    /**
     * The dtype packed bytes are labelled with.
     */
    struct fourbit_dtype storage;
    /**
     * 1: what it makes can be saved.
     */
    uint32_t is_serializable;
    /**
     * 1: gradients with respect to the input exist (FOURBIT_GEMM_TRANSPOSE).
     */
    uint32_t is_trainable;
    /**
     * 0: no calibration data is needed.
     */
    uint32_t requires_calibration;
    /**
     * Bits per element of a large weight, absmax values included.
     */
    double bits_per_element;
} fourbit_quantizer_info;

/**
 * What a weight is.
 */
typedef struct fourbit_weight_info {
    /**
     * sizeof(fourbit_weight_info), set by the caller.
     */
    uint32_t struct_size;
    /**
     * A fourbit_quant_type.
     */
    uint32_t quant_type;
    /**
     * Elements per absmax.
     */
    uint32_t block_size;
    /**
     * 1 if the absmax values are quantized themselves.
     */
    uint32_t double_quant;
    /**
     * Where the weight is.
     */
    struct fourbit_device device;
    /**
     * The dtype of the original: the default to dequantize to.
     */
    struct fourbit_dtype dtype;
    /**
     * The dtype the packed bytes are labelled with.
     */
    struct fourbit_dtype storage;
    /**
     * Number of dimensions of the original.
     */
    int32_t ndim;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * The original shape, [out, in] for a linear layer; `ndim` values, then zeros.
     */
    int64_t shape[FOURBIT_MAX_RANK];
    /**
     * Elements of the original.
     */
    uint64_t element_count;
    /**
     * Bytes of all parts.
     */
    uint64_t byte_size;
} fourbit_weight_info;

/**
 * How to multiply. All zero: output = input · Wᵀ (+ bias).
 */
typedef struct fourbit_gemm_config {
    /**
     * sizeof(fourbit_gemm_config).
     */
    uint32_t struct_size;
    /**
     * FOURBIT_GEMM_* joined by "or".
     */
    uint32_t flags;
} fourbit_gemm_config;

/**
 * How far a weight is from its source.
 */
typedef struct fourbit_quant_error {
    /**
     * sizeof(fourbit_quant_error), set by the caller.
     */
    uint32_t struct_size;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * Elements compared.
     */
    uint64_t count;
    /**
     * Largest absolute difference.
     */
    double max_error;
    /**
     * Mean absolute difference.
     */
    double mean_error;
    /**
     * Root of the mean squared difference.
     */
    double rms_error;
    /**
     * 10 log10(Σ source² / Σ difference²), in decibels.
     */
    double snr_db;
} fourbit_quant_error;

/**
 * One entry of a checkpoint.
 */
typedef struct fourbit_checkpoint_entry {
    /**
     * sizeof(fourbit_checkpoint_entry), set by the caller.
     */
    uint32_t struct_size;
    /**
     * A fourbit_checkpoint_entry_kind.
     */
    uint32_t kind;
    /**
     * The tensor's name; borrowed from the checkpoint.
     */
    const char *name;
    /**
     * The element type; of a weight, the dtype of the packed bytes.
     */
    struct fourbit_dtype dtype;
    /**
     * Number of dimensions.
     */
    int32_t ndim;
    /**
     * The stored shape; of a weight, that of the packed bytes (fourbit_weight_query has the
     * original one). `ndim` values, then zeros.
     */
    int64_t shape[FOURBIT_MAX_RANK];
    /**
     * Bytes stored, a weight's statistics included.
     */
    uint64_t byte_size;
} fourbit_checkpoint_entry;

/**
 * How to plan. All zero: portable, everything automatic.
 */
typedef struct fourbit_plan_config {
    /**
     * sizeof(fourbit_plan_config).
     */
    uint32_t struct_size;
    /**
     * A fourbit_plan_profile.
     */
    uint32_t profile;
    /**
     * The type float tensors are cast to first; all zero: what config.json says.
     */
    struct fourbit_dtype dtype;
    /**
     * A fourbit_plan_experts.
     */
    uint32_t experts;
    /**
     * Modules to keep, or NULL: the quantizer's skip_modules. See docs/c-api.md for matching.
     */
    const char *const *skip_modules;
    /**
     * The number of names.
     */
    size_t skip_module_count;
    /**
     * Where everything goes, or NULL: not decided. "auto", "balanced_low_0", "sequential", "fit", a
     * device ("0", "cpu"), or a map as JSON, such as {"model": 0, "lm_head": "cpu"}.
     */
    const char *device_map;
    /**
     * Memory of each device, such as "0=20GiB,cpu=64GiB", or NULL: what is free on this machine.
     */
    const char *max_memory;
    /**
     * 1: modules may go to the CPU or the disk (llm_int8_enable_fp32_cpu_offload).
     */
    uint32_t offload;
    /**
     * Zero.
     */
    uint32_t reserved;
} fourbit_plan_config;

/**
 * One tensor's fate.
 */
typedef struct fourbit_plan_entry {
    /**
     * sizeof(fourbit_plan_entry), set by the caller.
     */
    uint32_t struct_size;
    /**
     * A fourbit_plan_action.
     */
    uint32_t action;
    /**
     * The tensor's name; borrowed from the plan.
     */
    const char *name;
    /**
     * Why, in words; borrowed from the plan.
     */
    const char *reason;
    /**
     * The stored element type.
     */
    struct fourbit_dtype source_dtype;
    /**
     * The element type to store, or from which the weight is quantized.
     */
    struct fourbit_dtype dtype;
    /**
     * Number of dimensions.
     */
    int32_t ndim;
    /**
     * Zero.
     */
    uint32_t reserved;
    /**
     * The stored shape; `ndim` values, then zeros.
     */
    int64_t shape[FOURBIT_MAX_RANK];
    /**
     * Bytes in the source.
     */
    uint64_t bytes_before;
    /**
     * Bytes in the output, statistics included.
     */
    uint64_t bytes_after;
    /**
     * Where it goes: the number of a GPU, "mps", "cpu" or "disk"; NULL without a device map. Borrowed
     * from the plan.
     */
    const char *device;
} fourbit_plan_entry;

/**
 * Sums over a plan.
 */
typedef struct fourbit_plan_totals {
    /**
     * sizeof(fourbit_plan_totals), set by the caller.
     */
    uint32_t struct_size;
    /**
     * The fourbit_plan_profile followed.
     */
    uint32_t profile;
    /**
     * Tensors that become 4-bit.
     */
    uint64_t converted;
    /**
     * Tensors that stay.
     */
    uint64_t kept;
    /**
     * Bytes in the source.
     */
    uint64_t bytes_before;
    /**
     * Bytes in the output, file headers not counted.
     */
    uint64_t bytes_after;
} fourbit_plan_totals;

/**
 * How to write a checkpoint. All zero: files of up to 5 GB, nothing is replaced, side files are
 * copied.
 */
typedef struct fourbit_save_config {
    /**
     * sizeof(fourbit_save_config).
     */
    uint32_t struct_size;
    /**
     * 1: replace a checkpoint that stands in the output directory, once the new one is complete.
     */
    uint32_t force;
    /**
     * Bytes of tensor data per file; 0: 5 GB. A larger weight gets a file of its own.
     */
    uint64_t max_shard_size;
    /**
     * 1: do not copy tokenizer and other files that lie beside the source's weights.
     */
    uint32_t no_side_files;
    /**
     * Must be zero.
     */
    uint32_t reserved;
} fourbit_save_config;

/**
 * Where a long operation is.
 */
typedef struct fourbit_progress {
    /**
     * sizeof(fourbit_progress) of the library: fields up to it may be read.
     */
    uint32_t struct_size;
    /**
     * A fourbit_phase.
     */
    uint32_t phase;
    /**
     * The tensor at work; valid during the call only.
     */
    const char *tensor;
    /**
     * Bytes of the source dealt with, over all phases.
     */
    uint64_t bytes_done;
    /**
     * Bytes of the source to deal with, over all phases.
     */
    uint64_t bytes_total;
} fourbit_progress;

/**
 * Called now and then on the thread that made the call; nonzero cancels, after which nothing of the
 * output remains. Must not throw or unwind.
 */
typedef int32_t (*fourbit_progress_fn)(void *user, const struct fourbit_progress *progress);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * FOURBIT_ABI_VERSION of the library that is running.
 */
FOURBIT_API uint32_t fourbit_abi_version(void);

/**
 * The library's version as major * 10000 + minor * 100 + patch.
 */
FOURBIT_API uint32_t fourbit_version(void);

/**
 * One line: version, backends built in, best instruction set of this machine. Static.
 */
FOURBIT_API const char *fourbit_build_info(void);

/**
 * The name of a status, such as "shape mismatch". Static, never NULL, also for unknown numbers.
 */
FOURBIT_API const char *fourbit_status_name(int32_t status);

/**
 * What went wrong in the last fourbit call that failed on this thread, in words for a person:
 * the tensor, file, field and value at fault. Never NULL (empty before the first failure). Valid
 * until the next failing call on this thread; copy it to keep it.
 */
FOURBIT_API const char *fourbit_last_error(void);

/**
 * Sends messages up to `max_level` (a fourbit_log_level) to `fn`; NULL turns logging off. One
 * per process. When it returns, the previous function is not running and will not run again.
 * The library never prints.
 *
 * @pre
 * `fn` and `user` stay valid until replaced.
 */
FOURBIT_API fourbit_status fourbit_set_log(fourbit_log_fn fn, void *user, uint32_t max_level);

/**
 * Copies a tensor to another of the same shape and dtype; strides may differ.
 *
 * @pre
 * Both tensors describe valid memory that does not overlap.
 */
FOURBIT_API
fourbit_status fourbit_tensor_copy(const struct fourbit_context *context,
                                   const struct fourbit_tensor *source,
                                   const struct fourbit_tensor *destination);

/**
 * The number of devices of a kind (a fourbit_device_kind). No driver means 0, not an error.
 *
 * @pre
 * `out_count` is NULL or writable.
 */
FOURBIT_API fourbit_status fourbit_device_count(int32_t kind, uint32_t *out_count);

/**
 * Describes a device.
 *
 * @pre
 * `out_info` is NULL or writable for the bytes its `struct_size` states.
 */
FOURBIT_API
fourbit_status fourbit_device_query(struct fourbit_device device,
                                    struct fourbit_device_info *out_info);

/**
 * The instruction sets in use on this machine, one bit per fourbit_cpu_isa number, after
 * FOURBIT_CPU_ISA_MAX in the environment took its part away.
 */
FOURBIT_API uint32_t fourbit_cpu_features(void);

/**
 * Makes a context. `config` may be NULL.
 *
 * @pre
 * `config` is NULL or readable for the bytes it states; `out` is NULL or writable; a callback and
 * its argument stay valid, and callable from any thread, until everything made from the context
 * is destroyed.
 */
FOURBIT_API
fourbit_status fourbit_context_create(const struct fourbit_context_config *config,
                                      struct fourbit_context **out);

/**
 * The device and the number of threads. Either output may be NULL.
 *
 * @pre
 * `context` is live; outputs are NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_context_query(const struct fourbit_context *context,
                                     struct fourbit_device *out_device,
                                     uint32_t *out_threads);

/**
 * Waits until everything enqueued on the context is done. On the CPU every call is done when it
 * returns.
 *
 * @pre
 * `context` is live.
 */
FOURBIT_API fourbit_status fourbit_context_synchronize(const struct fourbit_context *context);

/**
 * Gives a context up; NULL is allowed. Objects made from it stay valid.
 *
 * @pre
 * No other call uses this handle.
 */
FOURBIT_API void fourbit_context_destroy(struct fourbit_context *context);

/**
 * Allocates memory of the context's device, aligned to FOURBIT_ALIGNMENT, contents undefined.
 * Size 0 gives a pointer that may only be freed.
 *
 * @pre
 * `context` is live; `out` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_memory_alloc(const struct fourbit_context *context,
                                    size_t size,
                                    void **out);

/**
 * Frees what fourbit_memory_alloc gave; NULL is allowed.
 *
 * @pre
 * `memory` is NULL or came from fourbit_memory_alloc on a context of the same device, and is freed
 * once.
 */
FOURBIT_API void fourbit_memory_free(const struct fourbit_context *_context, void *memory);

/**
 * Makes a quantizer. `config` may be NULL.
 *
 * @pre
 * `context` is live; `config` is NULL or readable for the bytes it states; `out` is NULL or
 * writable.
 */
FOURBIT_API
fourbit_status fourbit_quantizer_create(const struct fourbit_context *context,
                                        const struct fourbit_quant_config *config,
                                        struct fourbit_quantizer **out);

/**
 * Makes a quantizer from the JSON object that config.json has under "quantization_config". Missing
 * keys take transformers' defaults: FP4, no double quantization, float32 compute dtype, uint8.
 * Block size 64; the rule is that of the context's device. A request for 8 bits is UNSUPPORTED.
 *
 * @pre
 * `context` is live; `json` is readable for `len` bytes; `out` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_quantizer_from_json(const struct fourbit_context *context,
                                           const char *json,
                                           size_t len,
                                           struct fourbit_quantizer **out);

/**
 * Writes the "quantization_config" object of config.json and a NUL. `*out_len` gets the length
 * without the NUL, also when the buffer is too small; a NULL buffer of capacity 0 asks for the
 * length only.
 *
 * @pre
 * `quantizer` is live; `buffer` is NULL or writable for `capacity` bytes; `out_len` is NULL or
 * writable.
 */
FOURBIT_API
fourbit_status fourbit_quantizer_to_json(const struct fourbit_quantizer *quantizer,
                                         char *buffer,
                                         size_t capacity,
                                         size_t *out_len);

/**
 * Describes a quantizer.
 *
 * @pre
 * `quantizer` is live; `out_info` is NULL or writable for the bytes its `struct_size` states.
 */
FOURBIT_API
fourbit_status fourbit_quantizer_query(const struct fourbit_quantizer *quantizer,
                                       struct fourbit_quantizer_info *out_info);

/**
 * The bytes of a quantized weight's parts other than the quant state's text, known before
 * quantizing.
 *
 * @pre
 * `quantizer` is live; `out_bytes` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_quant_sizes(const struct fourbit_quantizer *quantizer,
                                   uint64_t element_count,
                                   uint64_t *out_bytes);

/**
 * Gives a quantizer up; NULL is allowed.
 *
 * @pre
 * No other call uses this handle.
 */
FOURBIT_API void fourbit_quantizer_destroy(struct fourbit_quantizer *quantizer);

/**
 * Describes a weight.
 *
 * @pre
 * `weight` is live; `out_info` is NULL or writable for the bytes its `struct_size` states.
 */
FOURBIT_API
fourbit_status fourbit_weight_query(const struct fourbit_weight *weight,
                                    struct fourbit_weight_info *out_info);

/**
 * A weight with the same contents on the context's device. On the same device the bytes are
 * shared, not copied.
 *
 * @pre
 * Handles are live; `out` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_weight_copy_to(const struct fourbit_weight *weight,
                                      const struct fourbit_context *context,
                                      struct fourbit_weight **out);

/**
 * Gives a weight up; NULL is allowed. Views and names borrowed from it become invalid.
 *
 * @pre
 * No other call uses this handle.
 */
FOURBIT_API void fourbit_weight_destroy(struct fourbit_weight *weight);

/**
 * Quantizes a float32, float16 or bfloat16 tensor of any shape (rank 0 to 8) and strides. The
 * weight owns its bytes; `source` may go away afterwards.
 *
 * @pre
 * `quantizer` is live; `source` describes readable memory; `out` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_quantize(const struct fourbit_quantizer *quantizer,
                                const struct fourbit_tensor *source,
                                struct fourbit_weight **out);

/**
 * Decodes a weight into a tensor of its shape, of any float dtype and strides.
 *
 * @pre
 * Handles are live; `destination` describes writable memory.
 */
FOURBIT_API
fourbit_status fourbit_dequantize(const struct fourbit_context *context,
                                  const struct fourbit_weight *weight,
                                  const struct fourbit_tensor *destination);

/**
 * Multiplies by a 4-bit weight of shape [n, k]:
 *   output[…, n] = input[…, k] · Wᵀ + bias[n];
 *   with FOURBIT_GEMM_TRANSPOSE  output[…, k] = input[…, n] · W + bias[k].
 * Input, bias and output are float32, float16 or bfloat16, independently; sums are in float32.
 * Leading dimensions of input and output are equal. Any k, a multiple of the block size or not.
 * `bias` and `config` may be NULL. Input and output must not overlap. The same bits come out for
 * any number of threads.
 *
 * @pre
 * Handles are live; tensors describe valid memory.
 */
FOURBIT_API
fourbit_status fourbit_gemm(const struct fourbit_context *context,
                            const struct fourbit_tensor *input,
                            const struct fourbit_weight *weight,
                            const struct fourbit_tensor *bias,
                            const struct fourbit_gemm_config *config,
                            const struct fourbit_tensor *output);

/**
 * One product per expert over consecutive rows: rows offsets[e] to offsets[e + 1] of `input` go
 * through `experts[e]`, into the same rows of `output`. `offsets` has count + 1 values that ascend
 * from 0 to the number of rows; an expert may have none. All experts have one shape.
 *
 * @pre
 * Handles are live; `offsets` has count + 1 values and `experts` count; tensors describe valid
 * memory.
 */
FOURBIT_API
fourbit_status fourbit_grouped_gemm(const struct fourbit_context *context,
                                    const struct fourbit_tensor *input,
                                    const int64_t *offsets,
                                    const struct fourbit_weight *const *experts,
                                    size_t count,
                                    const struct fourbit_gemm_config *config,
                                    const struct fourbit_tensor *output);

/**
 * Measures how far a weight is from a source of its shape.
 *
 * @pre
 * Handles are live; `source` describes readable memory; `out_error` is NULL or writable for the
 * bytes its `struct_size` states.
 */
FOURBIT_API
fourbit_status fourbit_quant_measure(const struct fourbit_context *context,
                                     const struct fourbit_tensor *source,
                                     const struct fourbit_weight *weight,
                                     struct fourbit_quant_error *out_error);

/**
 * The number of parts: 4, or 6 with double quantization.
 *
 * @pre
 * `weight` is live; `out_count` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_weight_part_count(const struct fourbit_weight *weight,
                                         size_t *out_count);

/**
 * Part `index` under bitsandbytes' name: "" (the packed codes), "absmax", "quant_map",
 * "nested_absmax", "nested_quant_map", "quant_state.bitsandbytes__nf4" (or __fp4). A checkpoint
 * stores it as "<tensor>.<name>". Name and view are borrowed: valid until the weight is destroyed,
 * read-only. Either output may be NULL.
 *
 * @pre
 * `weight` is live; outputs are NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_weight_part(const struct fourbit_weight *weight,
                                   size_t index,
                                   const char **out_name,
                                   struct fourbit_tensor *out_view);

/**
 * Builds a weight from its parts, in any order, under the names fourbit_weight_part gives or under
 * full tensor names ("model.….weight", "model.….weight.absmax", …). The bytes are copied. Every
 * part is checked against the quant state.
 *
 * @pre
 * `context` is live; `names` and `parts` have `count` valid entries; `out` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_weight_from_parts(const struct fourbit_context *context,
                                         const char *const *names,
                                         const struct fourbit_tensor *parts,
                                         size_t count,
                                         struct fourbit_weight **out);

/**
 * Writes a weight as one safetensors image: its parts named "weight", "weight.absmax", …
 * `*out_len` gets the length in bytes, also when the buffer is too small; a NULL buffer of
 * capacity 0 asks for the length only.
 *
 * @pre
 * `weight` is live; `buffer` is NULL or writable for `capacity` bytes; `out_len` is NULL or
 * writable.
 */
FOURBIT_API
fourbit_status fourbit_weight_serialize(const struct fourbit_weight *weight,
                                        uint8_t *buffer,
                                        size_t capacity,
                                        size_t *out_len);

/**
 * Reads what fourbit_weight_serialize wrote (or any safetensors image with the parts of exactly
 * one weight). The bytes are copied.
 *
 * @pre
 * `context` is live; `bytes` is readable for `len` bytes; `out` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_weight_deserialize(const struct fourbit_context *context,
                                          const uint8_t *bytes,
                                          size_t len,
                                          struct fourbit_weight **out);

/**
 * One part of a weight (see fourbit_weight_part) as a read-only DLPack tensor without a copy. It
 * keeps the bytes alive on its own; give it up once through its `deleter`.
 *
 * @pre
 * `weight` is live; `out` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_weight_to_dlpack(const struct fourbit_weight *weight,
                                        uint32_t part,
                                        struct DLManagedTensorVersioned **out);

/**
 * Opens a checkpoint: a directory with model.safetensors or shards and their index, an index
 * file, or one .safetensors file. Every header is checked in full. The files must not change while
 * the checkpoint, or a weight from it, is in use.
 *
 * @pre
 * `path` is a NUL-terminated string; `out` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_checkpoint_open(const char *path,
                                       struct fourbit_checkpoint **out);

/**
 * The number of entries. A quantized weight and its statistics are one.
 *
 * @pre
 * `checkpoint` is live; `out_count` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_checkpoint_len(const struct fourbit_checkpoint *checkpoint,
                                      size_t *out_count);

/**
 * Describes entry `index`. Entries come in natural order of their names.
 *
 * @pre
 * `checkpoint` is live; `out_entry` is NULL or writable for the bytes its `struct_size` states.
 */
FOURBIT_API
fourbit_status fourbit_checkpoint_get(const struct fourbit_checkpoint *checkpoint,
                                      size_t index,
                                      struct fourbit_checkpoint_entry *out_entry);

/**
 * The index of the entry of that name. NOT_FOUND if there is none.
 *
 * @pre
 * `checkpoint` is live; `name` is a NUL-terminated string; `out_index` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_checkpoint_find(const struct fourbit_checkpoint *checkpoint,
                                       const char *name,
                                       size_t *out_index);

/**
 * A view of a plain tensor's mapped bytes, read-only; valid until the checkpoint is destroyed.
 *
 * @pre
 * `checkpoint` is live; `out_view` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_checkpoint_tensor(const struct fourbit_checkpoint *checkpoint,
                                         size_t index,
                                         struct fourbit_tensor *out_view);

/**
 * A quantized weight of the checkpoint on the context's device. On the CPU its bytes stay mapped,
 * nothing is copied; the weight keeps the mapping alive.
 *
 * @pre
 * Handles are live; `out` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_checkpoint_weight(const struct fourbit_checkpoint *checkpoint,
                                         const struct fourbit_context *context,
                                         size_t index,
                                         struct fourbit_weight **out);

/**
 * The text of config.json beside the files, and a NUL. NOT_FOUND if there is none. `*out_len` gets
 * the length without the NUL, also when the buffer is too small; a NULL buffer of capacity 0 asks
 * for the length only.
 *
 * @pre
 * `checkpoint` is live; `buffer` is NULL or writable for `capacity` bytes; `out_len` is NULL or
 * writable.
 */
FOURBIT_API
fourbit_status fourbit_checkpoint_config(const struct fourbit_checkpoint *checkpoint,
                                         char *buffer,
                                         size_t capacity,
                                         size_t *out_len);

/**
 * Closes a checkpoint; NULL is allowed. Views borrowed from it become invalid, weights from it
 * stay valid.
 *
 * @pre
 * No other call uses this handle.
 */
FOURBIT_API void fourbit_checkpoint_destroy(struct fourbit_checkpoint *checkpoint);

/**
 * Decides what happens to every tensor of a checkpoint. It needs a config.json beside the files.
 * `config` may be NULL.
 *
 * @pre
 * Handles are live; `config` is NULL or readable for the bytes it states, its names and texts are valid;
 * `out` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_plan_create(const struct fourbit_quantizer *quantizer,
                                   const struct fourbit_checkpoint *checkpoint,
                                   const struct fourbit_plan_config *config,
                                   struct fourbit_plan **out);

/**
 * The number of tensors.
 *
 * @pre
 * `plan` is live; `out_count` is NULL or writable.
 */
FOURBIT_API fourbit_status fourbit_plan_len(const struct fourbit_plan *plan, size_t *out_count);

/**
 * Describes tensor `index`.
 *
 * @pre
 * `plan` is live; `out_entry` is NULL or writable for the bytes its `struct_size` states.
 */
FOURBIT_API
fourbit_status fourbit_plan_get(const struct fourbit_plan *plan,
                                size_t index,
                                struct fourbit_plan_entry *out_entry);

/**
 * The index of the tensor of that name. NOT_FOUND if there is none.
 *
 * @pre
 * `plan` is live; `name` is a NUL-terminated string; `out_index` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_plan_find(const struct fourbit_plan *plan,
                                 const char *name,
                                 size_t *out_index);

/**
 * The sums over all tensors.
 *
 * @pre
 * `plan` is live; `out_totals` is NULL or writable for the bytes its `struct_size` states.
 */
FOURBIT_API
fourbit_status fourbit_plan_summary(const struct fourbit_plan *plan,
                                    struct fourbit_plan_totals *out_totals);

/**
 * Writes a plan as JSON and a NUL. `*out_len` gets the length without the NUL, also when the
 * buffer is too small; a NULL buffer of capacity 0 asks for the length only.
 *
 * @pre
 * `plan` is live; `buffer` is NULL or writable for `capacity` bytes; `out_len` is NULL or
 * writable.
 */
FOURBIT_API
fourbit_status fourbit_plan_to_json(const struct fourbit_plan *plan,
                                    char *buffer,
                                    size_t capacity,
                                    size_t *out_len);

/**
 * Reads what fourbit_plan_to_json wrote, perhaps edited in between.
 *
 * @pre
 * `json` is readable for `len` bytes; `out` is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_plan_from_json(const char *json,
                                      size_t len,
                                      struct fourbit_plan **out);

/**
 * Gives a plan up; NULL is allowed. Text borrowed from it becomes invalid.
 *
 * @pre
 * No other call uses this handle.
 */
FOURBIT_API void fourbit_plan_destroy(struct fourbit_plan *plan);

/**
 * Quantizes a whole checkpoint into a directory, as `plan` says (NULL: the automatic plan), with
 * config.json and the files beside the weights. Weights are streamed: memory does not grow with the
 * checkpoint. Files appear under their final names when all is written; on failure nothing remains.
 * `config` and `progress` may be NULL. A nonzero answer from `progress` gives CANCELLED.
 *
 * @pre
 * Handles are live; `out_dir` is a NUL-terminated string; `config` is NULL or readable for the
 * bytes it states; `progress` may be called with `user` until this returns.
 */
FOURBIT_API
fourbit_status fourbit_quantize_checkpoint(const struct fourbit_quantizer *quantizer,
                                           const struct fourbit_checkpoint *checkpoint,
                                           const struct fourbit_plan *plan,
                                           const char *out_dir,
                                           const struct fourbit_save_config *config,
                                           fourbit_progress_fn progress,
                                           void *user);

/**
 * Turns a quantized checkpoint back into plain floats: every weight in `dtype` (all zero: its own
 * original type), names, shapes and config.json as before quantization. Otherwise as
 * fourbit_quantize_checkpoint.
 *
 * @pre
 * As for fourbit_quantize_checkpoint.
 */
FOURBIT_API
fourbit_status fourbit_dequantize_checkpoint(const struct fourbit_context *context,
                                             const struct fourbit_checkpoint *checkpoint,
                                             struct fourbit_dtype dtype,
                                             const char *out_dir,
                                             const struct fourbit_save_config *config,
                                             fourbit_progress_fn progress,
                                             void *user);

/**
 * Starts a checkpoint that fourbit_writer_finish will write to a directory. `config` may be NULL.
 *
 * @pre
 * `out_dir` is a NUL-terminated string; `config` is NULL or readable for the bytes it states; `out`
 * is NULL or writable.
 */
FOURBIT_API
fourbit_status fourbit_writer_create(const char *out_dir,
                                     const struct fourbit_save_config *config,
                                     struct fourbit_writer **out);

/**
 * Adds a tensor; its elements are copied.
 *
 * @pre
 * `writer` is live and used by this thread alone; `name` is a NUL-terminated string; `tensor`
 * describes readable memory.
 */
FOURBIT_API
fourbit_status fourbit_writer_add_tensor(struct fourbit_writer *writer,
                                         const char *name,
                                         const struct fourbit_tensor *tensor);

/**
 * Adds a weight under the names bitsandbytes gives its parts: `name`, `name`.absmax, …
 *
 * @pre
 * `writer` is live and used by this thread alone; `name` is a NUL-terminated string; `weight` is
 * live.
 */
FOURBIT_API
fourbit_status fourbit_writer_add_weight(struct fourbit_writer *writer,
                                         const char *name,
                                         const struct fourbit_weight *weight);

/**
 * Sets a key of every file's metadata. "format" is "pt" unless set otherwise.
 *
 * @pre
 * `writer` is live and used by this thread alone; `key` and `value` are NUL-terminated strings.
 */
FOURBIT_API
fourbit_status fourbit_writer_set_metadata(struct fourbit_writer *writer,
                                           const char *key,
                                           const char *value);

/**
 * Sets the text of config.json.
 *
 * @pre
 * `writer` is live and used by this thread alone; `text` is readable for `len` bytes.
 */
FOURBIT_API
fourbit_status fourbit_writer_set_config(struct fourbit_writer *writer,
                                         const char *text,
                                         size_t len);

/**
 * Writes everything. Files appear under their final names when all of it is on disk; on failure
 * nothing remains and the writer may be finished again. After success it can only be destroyed.
 *
 * @pre
 * `writer` is live and used by this thread alone.
 */
FOURBIT_API fourbit_status fourbit_writer_finish(struct fourbit_writer *writer);

/**
 * Gives a writer up, finished or not; NULL is allowed. Unfinished, it has written nothing.
 *
 * @pre
 * No other call uses this handle.
 */
FOURBIT_API void fourbit_writer_destroy(struct fourbit_writer *writer);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* FOURBIT_FOURBIT_H */
