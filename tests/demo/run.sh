#!/usr/bin/env bash
# `make demo` works, and the example engine computes what the fixture's expected.json says, from 16-bit and
# from 4-bit weights.   tests/demo/run.sh   (after `cmake --build` and tests/consumer/run.sh)
source "$(dirname "$0")/../tap.sh"

MODEL=tests/fixtures/tiny-llama
QUANTIZED=out/tiny-llama-nf4
LLAMA=$BUILD/examples/llama/llama
INSTALLED=$BUILD/consumer/moved

# expected_text N: the Nth greedy text of expected.json (1: bfloat16, 2: NF4).
expected_text() {
    sed -nE 's/.*"generated_text": "([^"]*)".*/\1/p' $MODEL/expected.json | sed -n "${1}p"
}

# writes LLAMA CHECKPOINT TEXT: greedily, after the prompt of expected.json.
writes() {
    same "text of $2" "They went $3" "$("$1" --model "$2" --prompt "They went " --tokens 64 --threads 2 2>/dev/null)"
}

# perplexity CHECKPOINT [OPTION...]: on held-out text, windows as in expected.json.
perplexity() {
    "$LLAMA" --model "$1" --perplexity $MODEL/heldout.txt --context 256 --stride 128 --json "${@:2}" |
        sed -nE 's/.*"perplexity": ([0-9.]+).*/\1/p'
}

# perplexity_is CHECKPOINT N [OPTION...]: within 0.2 % of the Nth perplexity of expected.json.
perplexity_is() {
    local expected found
    expected=$(sed -nE 's/.*"perplexity": ([0-9.]+).*/\1/p' $MODEL/expected.json | sed -n "${2}p")
    found=$(perplexity "$1" "${@:3}")
    awk -v e="$expected" -v f="$found" 'BEGIN { d = f / e - 1; exit !(d < 0.002 && d > -0.002) }' && return
    echo "perplexity of $1: expected $expected, found $found"
    return 1
}

demo() { tools/demo.sh $MODEL && grep -q ' linear layer' $QUANTIZED.plan.txt; }

verified() { "$BUILD/stage/bin/fourbit" verify $MODEL $QUANTIZED; }

# A token cannot take less time than reading its weights, give or take the noise of a shared machine.
measures_reading() {
    local said speed
    said=$("$LLAMA" --model $QUANTIZED --prompt "They went " --tokens 32 --roofline --json) || return 1
    speed=$(sed -nE 's/.*"decode_tokens_per_second": ([0-9.]+).*/\1/p' <<<"$said")
    sed -nE 's/.*"read_tokens_per_second": ([0-9.]+).*/\1/p' <<<"$said" |
        awk -v decode="$speed" '{ exit !($1 > decode / 2 && decode > 0) }' && return
    echo "$said"
    return 1
}

# Unoptimised: this is about building against an installed tree, and takes a tenth of the time.
engine_from_installed_tree() {
    cmake -S examples/llama -B "$BUILD/demo" -DCMAKE_PREFIX_PATH="$INSTALLED" -DCMAKE_BUILD_TYPE=Debug &&
        cmake --build "$BUILD/demo" --parallel "$(nproc)"
}

# c_example NAME ARGUMENT...
c_example() { "$BUILD/examples/c/$1" "${@:2}"; }

c_conversion() {
    rm -rf "$BUILD/examples/c/converted"
    c_example convert_checkpoint $MODEL "$BUILD/examples/c/converted" &&
        cmp "$BUILD/examples/c/converted/model.safetensors" $QUANTIZED/model.safetensors
}

check "make demo" demo
check "C example: quantize_tensor" c_example quantize_tensor
check "C example: load_weight" c_example load_weight $QUANTIZED
check "C example: convert_checkpoint writes what the command wrote" c_conversion
check "C example: own_threads" c_example own_threads
check "fourbit verify agrees with what was written" verified
check "the engine's text from 16-bit weights" writes "$LLAMA" $MODEL "$(expected_text 1)"
check "the engine's text from 4-bit weights" writes "$LLAMA" $QUANTIZED "$(expected_text 2)"
check "perplexity of the 16-bit weights" perplexity_is $MODEL 1
check "perplexity of the 4-bit weights" perplexity_is $QUANTIZED 2
check "perplexity of the 4-bit weights, bfloat16 activations" perplexity_is $QUANTIZED 2 --bf16
check "the engine measures itself against reading alone" measures_reading
check "the engine says what it cannot open" refused "nowhere" "$LLAMA" --model nowhere --prompt x
check "the engine says which option it does not know" refused "--oops" "$LLAMA" --model $MODEL --oops
if [ -d "$INSTALLED" ]; then
    check "the engine builds against the installed tree" engine_from_installed_tree
    check "its text from 4-bit weights" writes "$BUILD/demo/llama" $QUANTIZED "$(expected_text 2)"
else
    skip "the engine against the installed tree" "tests/consumer/run.sh makes one"
fi
finish
