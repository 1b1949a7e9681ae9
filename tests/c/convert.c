/* Whole checkpoints: quantized with progress, read back, dequantized, cancelled, sharded. */
#include "check.h"

#include <math.h>

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

static const char* const kUp = "model.layers.2.mlp.up_proj.weight";

typedef struct {
    int calls;
    int backwards;
    int strange;
    uint64_t done;
    uint64_t total;
    int cancel_at;
} watcher;

static int32_t watch(void* user, const fourbit_progress* progress) {
    watcher* seen = user;
    ++seen->calls;
    seen->backwards += progress->bytes_done < seen->done;
    seen->strange += progress->tensor == NULL || progress->phase > FOURBIT_PHASE_WRITE ||
                     progress->bytes_done > progress->bytes_total;
    seen->done = progress->bytes_done;
    seen->total = progress->bytes_total;
    return seen->calls == seen->cancel_at;
}

static void quantized(void) {
    watcher seen = {0, 0, 0, 0, 0, 0};
    OK(fourbit_quantize_checkpoint(quantizer, model, NULL, "small", NULL, watch, &seen));
    CHECK(seen.calls > 0 && seen.backwards == 0 && seen.strange == 0 && seen.done == seen.total);
    FAILS(INVALID_ARGUMENT, "small",
          fourbit_quantize_checkpoint(quantizer, model, NULL, "small", NULL, NULL, NULL));

    fourbit_checkpoint* small = open_checkpoint("small");
    size_t index = 0;
    size_t source = 0;
    NEED(fourbit_checkpoint_find(small, kUp, &index));
    NEED(fourbit_checkpoint_find(model, kUp, &source));
    const fourbit_checkpoint_entry entry = entry_of(small, index);
    CHECK(entry.kind == FOURBIT_CHECKPOINT_ENTRY_KIND_WEIGHT);
    fourbit_tensor view;
    FAILS(INVALID_ARGUMENT, "fourbit_checkpoint_weight",
          fourbit_checkpoint_tensor(small, index, &view));
    /* The same bytes as quantizing the tensor alone; usable after the checkpoint is closed. */
    fourbit_weight* weight = NULL;
    fourbit_weight* alone = NULL;
    NEED(fourbit_checkpoint_weight(small, context, index, &weight));
    fourbit_checkpoint_destroy(small);
    NEED(fourbit_checkpoint_tensor(model, source, &view));
    NEED(fourbit_quantize(quantizer, &view, &alone));
    size_t size = 0;
    size_t other = 0;
    NEED(fourbit_weight_serialize(weight, NULL, 0, &size));
    NEED(fourbit_weight_serialize(alone, NULL, 0, &other));
    uint8_t* a = allocate(size);
    uint8_t* b = allocate(other);
    NEED(fourbit_weight_serialize(weight, a, size, &size));
    NEED(fourbit_weight_serialize(alone, b, other, &other));
    CHECK(size == other && memcmp(a, b, size) == 0);
    free(a);
    free(b);
    fourbit_weight_destroy(weight);
    fourbit_weight_destroy(alone);
}

static void dequantized(void) {
    fourbit_checkpoint* small = open_checkpoint("small");
    const fourbit_dtype own = {0, 0, 0};
    OK(fourbit_dequantize_checkpoint(context, small, own, "plain", NULL, NULL, NULL));
    fourbit_checkpoint_destroy(small);
    fourbit_checkpoint* plain = open_checkpoint("plain");
    size_t count = 0;
    OK(fourbit_checkpoint_len(plain, &count));
    CHECK(count == 48);
    double worst = 0;
    for (size_t i = 0; i < count; ++i) {
        const fourbit_checkpoint_entry entry = entry_of(plain, i);
        size_t source = 0;
        fourbit_tensor a;
        fourbit_tensor b;
        NEED(fourbit_checkpoint_find(model, entry.name, &source));
        NEED(fourbit_checkpoint_tensor(plain, i, &a));
        NEED(fourbit_checkpoint_tensor(model, source, &b));
        CHECK(memcmp(&a.dtype, &b.dtype, sizeof a.dtype) == 0 && a.ndim == b.ndim);
        CHECK(entry_of(model, source).byte_size == entry.byte_size);
        for (size_t j = 0; j < entry.byte_size / 2; ++j) {
            const uint32_t x = (uint32_t)((const uint16_t*)a.data)[j] << 16;
            const uint32_t y = (uint32_t)((const uint16_t*)b.data)[j] << 16;
            float u;
            float v;
            memcpy(&u, &x, 4);
            memcpy(&v, &y, 4);
            worst = fmax(worst, fabs((double)(u - v)));
        }
    }
    CHECK(worst > 0 && worst < 0.3);
    fourbit_checkpoint_destroy(plain);
}

/* Cancelled at any of its calls, nothing remains, also not of an older result that is in the way.
 */
static void cancelled(void) {
    watcher all = {0, 0, 0, 0, 0, 0};
    OK(fourbit_quantize_checkpoint(quantizer, model, NULL, "all", NULL, watch, &all));
    for (int at = 1; at <= all.calls; at += 1 + all.calls / 5) {
        watcher seen = {0, 0, 0, 0, 0, at};
        FAILS(CANCELLED, "",
              fourbit_quantize_checkpoint(quantizer, model, NULL, "gone", NULL, watch, &seen));
        CHECK(seen.calls == at);
        fourbit_checkpoint* none = NULL;
        CHECK(fourbit_checkpoint_open("gone", &none) == FOURBIT_STATUS_IO && none == NULL);
    }
}

static void sharded(void) {
    fourbit_save_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = sizeof config;
    config.max_shard_size = 100000;
    config.no_side_files = 1;
    OK(fourbit_quantize_checkpoint(quantizer, model, NULL, "shards", &config, NULL, NULL));
    fourbit_checkpoint* shards = open_checkpoint("shards");
    fourbit_checkpoint* small = open_checkpoint("small");
    size_t a = 0;
    size_t b = 0;
    OK(fourbit_checkpoint_len(shards, &a));
    OK(fourbit_checkpoint_len(small, &b));
    CHECK(a == b);
    fourbit_checkpoint_destroy(shards);
    fourbit_checkpoint_destroy(small);
    shards = open_checkpoint("shards/model.safetensors.index.json");
    fourbit_checkpoint_destroy(shards);
    FILE* side = fopen("shards/tokenizer_config.json", "rb");
    CHECK(side == NULL);
    side = fopen("small/tokenizer_config.json", "rb");
    if (CHECK(side != NULL)) {
        fclose(side);
    }
}

int main(int argc, char** argv) {
    char path[4096];
    context = new_context(2);
    quantizer = new_quantizer(context, FOURBIT_QUANT_TYPE_NF4, 64, 1);
    model = open_checkpoint(fixture(argc, argv, path, sizeof path));
    quantized();
    dequantized();
    cancelled();
    sharded();
    fourbit_checkpoint_destroy(model);
    fourbit_quantizer_destroy(quantizer);
    fourbit_context_destroy(context);
    return check_result();
}
