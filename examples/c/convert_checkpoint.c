/* Plans what happens to every tensor of a 16-bit checkpoint, quantizes it with a progress line, and
 * stops cleanly at Ctrl-C.
 *   convert_checkpoint MODEL_DIR OUT_DIR */
#include <fourbit/fourbit.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void need(fourbit_status status) {
    if (status == FOURBIT_STATUS_OK) {
        return;
    }
    fprintf(stderr, "\n%s: %s\n", fourbit_status_name(status), fourbit_last_error());
    exit(1);
}

static volatile sig_atomic_t interrupted;

static void interrupt(int signal) { interrupted = signal; }

/* Called on this thread now and then; nonzero cancels, and nothing of the output remains. */
static int32_t show(void* user, const fourbit_progress* progress) {
    (void)user;
    fprintf(stderr, "\r%3.0f %%  %-60s",
            100.0 * (double)progress->bytes_done / (double)progress->bytes_total, progress->tensor);
    return interrupted != 0;
}

int main(int argc, char** argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL_DIR OUT_DIR\n", argv[0]);
        return 2;
    }
    signal(SIGINT, interrupt);
    fourbit_context* context = NULL;
    fourbit_checkpoint* checkpoint = NULL;
    fourbit_quantizer* quantizer = NULL;
    fourbit_plan* plan = NULL;
    need(fourbit_context_create(NULL, &context));
    need(fourbit_checkpoint_open(argv[1], &checkpoint));
    fourbit_quant_config config = {0};
    config.struct_size = sizeof config;
    config.double_quant = 1;
    need(fourbit_quantizer_create(context, &config, &quantizer));
    need(fourbit_plan_create(quantizer, checkpoint, NULL, &plan));

    /* The plan knows, and says why, before anything is written. */
    size_t count = 0;
    need(fourbit_plan_len(plan, &count));
    fourbit_plan_entry entry = {0};
    entry.struct_size = sizeof entry;
    for (size_t i = 0; i < count; ++i) {
        need(fourbit_plan_get(plan, i, &entry));
        printf("%-6s %-56s %s\n", entry.action == FOURBIT_PLAN_ACTION_KEEP ? "keep" : "4-bit",
               entry.name, entry.reason);
    }
    fourbit_plan_totals totals = {0};
    totals.struct_size = sizeof totals;
    need(fourbit_plan_summary(plan, &totals));
    printf("%llu of %zu tensors, %.1f MB to %.1f MB\n", (unsigned long long)totals.converted, count,
           (double)totals.bytes_before / 1e6, (double)totals.bytes_after / 1e6);

    need(fourbit_quantize_checkpoint(quantizer, checkpoint, plan, argv[2], NULL, show, NULL));
    fprintf(stderr, "\n");
    fourbit_plan_destroy(plan);
    fourbit_quantizer_destroy(quantizer);
    fourbit_checkpoint_destroy(checkpoint);
    fourbit_context_destroy(context);
    return 0;
}
