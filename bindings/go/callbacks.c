#include "callbacks.h"

#include "_cgo_export.h"

static int32_t progress(void *user, const fourbit_progress *now) {
    return fourbitGoProgress((uintptr_t)user, (fourbit_progress *)now);
}

fourbit_status fourbit_go_quantize_checkpoint(const fourbit_quantizer *quantizer,
                                              const fourbit_checkpoint *checkpoint,
                                              const fourbit_plan *plan, const char *out_dir,
                                              const fourbit_save_config *config, uintptr_t user) {
    return fourbit_quantize_checkpoint(quantizer, checkpoint, plan, out_dir, config, progress,
                                       (void *)user);
}

fourbit_status fourbit_go_dequantize_checkpoint(const fourbit_context *context,
                                                const fourbit_checkpoint *checkpoint,
                                                fourbit_dtype dtype, const char *out_dir,
                                                const fourbit_save_config *config, uintptr_t user) {
    return fourbit_dequantize_checkpoint(context, checkpoint, dtype, out_dir, config, progress,
                                         (void *)user);
}

fourbit_status fourbit_go_model_load(const fourbit_quantizer *quantizer,
                                     const fourbit_checkpoint *checkpoint, const fourbit_plan *plan,
                                     const fourbit_load_config *config, uintptr_t user,
                                     fourbit_model **out) {
    return fourbit_model_load(quantizer, checkpoint, plan, config, progress, (void *)user, out);
}

static void deliver(void *user, uint32_t level, const char *text) {
    fourbitGoLog((uintptr_t)user, level, (char *)text);
}

fourbit_status fourbit_go_set_log(uintptr_t user, uint32_t max_level) {
    return fourbit_set_log(user ? deliver : NULL, (void *)user, max_level);
}

static void parallel_for(void *user, size_t count, void (*task)(void *, size_t), void *data) {
    fourbitGoParallelFor((uintptr_t)user, count, (void *)task, data);
}

fourbit_status fourbit_go_context_create(const fourbit_context_config *config, uintptr_t user,
                                         fourbit_context **out) {
    fourbit_context_config with_loop = *config;
    if (user) {
        with_loop.parallel_for = parallel_for;
        with_loop.parallel_for_user = (void *)user;
    }
    return fourbit_context_create(&with_loop, out);
}

void fourbit_go_run_task(void *task, void *data, size_t index) {
    ((void (*)(void *, size_t))task)(data, index);
}

static _Thread_local uintptr_t panicked_with;

void fourbit_go_set_panic(uintptr_t value) { panicked_with = value; }

uintptr_t fourbit_go_take_panic(void) {
    uintptr_t value = panicked_with;
    panicked_with = 0;
    return value;
}
