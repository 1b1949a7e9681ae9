// The product with its tensors taken apart: structs that hold Go pointers would have to be pinned, the
// arguments of a call are kept in place anyway. This is the call that programs make most.
#ifndef FOURBIT_GO_GEMM_H
#define FOURBIT_GO_GEMM_H

#include <fourbit/fourbit.h>

// Where a tensor is and what its elements are; the data lies beside it.
typedef struct fourbit_go_form {
    fourbit_device device;
    fourbit_dtype dtype;
    int32_t ndim;
} fourbit_go_form;

static fourbit_tensor fourbit_go_tensor(uint8_t *data, fourbit_go_form form, const int64_t *shape,
                                        const int64_t *strides) {
    fourbit_tensor tensor = {data, form.device, form.ndim, form.dtype, shape, strides, 0};
    return tensor;
}

// `bias` NULL: none.
static fourbit_status fourbit_go_gemm(const fourbit_context *context, const fourbit_weight *weight,
                                      uint32_t flags, uint8_t *x, fourbit_go_form x_form,
                                      const int64_t *x_shape, const int64_t *x_strides,
                                      uint8_t *bias, fourbit_go_form bias_form,
                                      const int64_t *bias_shape, const int64_t *bias_strides,
                                      uint8_t *y, fourbit_go_form y_form, const int64_t *y_shape,
                                      const int64_t *y_strides) {
    fourbit_gemm_config config = {sizeof config, flags};
    fourbit_tensor input = fourbit_go_tensor(x, x_form, x_shape, x_strides);
    fourbit_tensor added = fourbit_go_tensor(bias, bias_form, bias_shape, bias_strides);
    fourbit_tensor output = fourbit_go_tensor(y, y_form, y_shape, y_strides);
    return fourbit_gemm(context, &input, weight, bias ? &added : NULL, &config, &output);
}

#endif
