// What calls from C into Go, and from Go to functions that C hands over. Handles of Go values travel as
// integers: a small integer in an unsafe.Pointer would trip Go's collector.
#ifndef FOURBIT_GO_CALLBACKS_H
#define FOURBIT_GO_CALLBACKS_H

#include <fourbit/fourbit.h>

fourbit_status fourbit_go_quantize_checkpoint(const fourbit_quantizer *quantizer,
                                              const fourbit_checkpoint *checkpoint,
                                              const fourbit_plan *plan, const char *out_dir,
                                              const fourbit_save_config *config, uintptr_t user);
fourbit_status fourbit_go_dequantize_checkpoint(const fourbit_context *context,
                                                const fourbit_checkpoint *checkpoint,
                                                fourbit_dtype dtype, const char *out_dir,
                                                const fourbit_save_config *config, uintptr_t user);
fourbit_status fourbit_go_model_load(const fourbit_quantizer *quantizer,
                                     const fourbit_checkpoint *checkpoint, const fourbit_plan *plan,
                                     const fourbit_load_config *config, uintptr_t user,
                                     fourbit_model **out);
fourbit_status fourbit_go_set_log(uintptr_t user, uint32_t max_level);

// `user` 0: the library's own threads.
fourbit_status fourbit_go_context_create(const fourbit_context_config *config, uintptr_t user,
                                         fourbit_context **out);

// One task of a parallel_for.
void fourbit_go_run_task(void *task, void *data, size_t index);

// The handle of what a Go function panicked with while C was calling it on this thread, or 0.
void fourbit_go_set_panic(uintptr_t value);
uintptr_t fourbit_go_take_panic(void);

#endif
