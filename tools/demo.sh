#!/usr/bin/env bash
# Quantizes a checkpoint and lets it write from its 4-bit weights.
#   tools/demo.sh MODEL_DIR [PROMPT [LLAMA-OPTION...]]
source "$(dirname "$0")/common.sh"

MODEL=${1:?usage: tools/demo.sh MODEL_DIR [PROMPT]}
PROMPT=${2:-They went }
shift $(($# < 2 ? $# : 2))
OUT=out/$(basename "$MODEL")-nf4
FOURBIT=$BUILD/stage/bin/fourbit
LLAMA=$BUILD/examples/llama/llama
PLAN_LINES=60

say "1. Build the library, the command and the example engine"
tools/setup.sh build
configure -DFOURBIT_BUILD_EXAMPLES=ON
cmake --build "$BUILD" --parallel "$(nproc)" --target fourbit_libraries fourbit_command llama
mkdir -p out

say "2. What will be converted   (fourbit plan $MODEL)"
"$FOURBIT" plan "$MODEL" >"$OUT.plan.txt"
if [ "$(wc -l <"$OUT.plan.txt")" -le $PLAN_LINES ]; then
    cat "$OUT.plan.txt"
else
    head -n $((PLAN_LINES / 3)) "$OUT.plan.txt"
    echo "  …    (all of it: $OUT.plan.txt)"
    tail -n 8 "$OUT.plan.txt"
fi

say "3. Quantize   (fourbit quantize $MODEL $OUT)"
"$FOURBIT" quantize "$MODEL" "$OUT" --force

say "4. Let the 4-bit model write   ($LLAMA --model $OUT --prompt \"$PROMPT\")"
"$LLAMA" --model "$OUT" --prompt "$PROMPT" --tokens 100 "$@"

say "Next"
cat <<END
  $FOURBIT inspect $OUT    what is in it
  $FOURBIT verify $MODEL $OUT    how far it is from its source
  $LLAMA --model $MODEL --prompt "$PROMPT"    the 16-bit model, to compare
END
[ "$MODEL" != tests/fixtures/tiny-llama ] || echo "  make demo-smollm2    a model that answers questions"
echo "  README.md    the same from C, C++ and Rust"
