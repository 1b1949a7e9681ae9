#!/usr/bin/env python3
"""The table of architectures (src/plan/table.json): take it apart to edit it, put it together again.

  plan_table.py unpack            src/plan/table.json -> stdout, one model type per line, every value spelled out
  plan_table.py pack FILE         such a file -> src/plan/table.json (values that occur more than once move to a pool)

Fields of a model type; module paths and tensor names are those of checkpoint files, `*` stands for a number:
  arch       the class whose plan this is             no_split   classes that a device map must not cut
  only       "v4" or "v5": the other one lacks the type
  prefix     where a class with a head keeps the base model (checkpoints of the base model alone lack it)
  bare       `arch` is itself without that prefix
  tie        default of tie_word_embeddings            tie4       the same in 4.57, where it differs
  out        output embedding module                  out_mods   all its names, in files and in modules
  last       last registered parameter                last4      the same in 4.57, where it differs
  tied       [target, source] pairs tied in 5.x        tied4      groups tied in 4.57
  non        2-D `.weight` modules that are no linear layer for 5.x (embeddings, routers, experts)
  non4       the same for 4.57
  linear     tensors of linear layers whose names do not say so: no `.weight`, or like an embedding's
  experts    per-expert layers that 5.x fuses         conv1d     leaf names of GPT-2's Conv1D
  fp32       _keep_in_fp32_modules of 5.x             fp32_4     of 4.57
  strict     _keep_in_fp32_modules_strict of 5.x      strict4    of 4.57
  f32        parameters that 5.x creates in float32 whatever the load dtype (a name, or the start of names)
  names      [path in files, module path in 5.x]: starts that differ, the longest one holds
  ren        the same for types whose names are not known exactly: any of them may hold
  v441       fields as transformers 4.41 has them, where they differ from 4.57
"""
import collections
import json
import pathlib
import sys

PACKED = pathlib.Path(__file__).resolve().parent.parent / "src/plan/table.json"
POOLED = {"out_mods", "tied", "tied4", "non", "non4", "experts", "conv1d", "no_split", "fp32", "fp32_4", "strict", "ren", "names"}


def spell(value):
    return json.dumps(value, separators=(",", ":"))


def pack(types):
    seen = collections.Counter(spell(v) for row in types.values() for k, v in row.items() if k in POOLED)
    pool = {}
    for text, count in seen.most_common():
        if count > 1 and len(text) > 6:
            pool[text] = len(pool)
    rows = []
    for name, row in sorted(types.items()):
        fields = [f"{spell(k)}:{pool.get(spell(v), spell(v)) if k in POOLED else spell(v)}" for k, v in row.items()]
        rows.append(f"{spell(name)}:{{{','.join(fields)}}}")
    return '{"pool":[\n' + ",\n".join(pool) + '\n],"types":{\n' + ",\n".join(rows) + "\n}}\n"


def unpack(packed):
    pool = packed["pool"]
    return {
        name: {k: pool[v] if k in POOLED and isinstance(v, int) else v for k, v in row.items()}
        for name, row in packed["types"].items()
    }


def main():
    if sys.argv[1:] == ["unpack"]:
        types = unpack(json.loads(PACKED.read_text()))
        print("{\n" + ",\n".join(f"{spell(k)}:{spell(v)}" for k, v in types.items()) + "\n}")
    elif len(sys.argv) == 3 and sys.argv[1] == "pack":
        text = pack(json.loads(pathlib.Path(sys.argv[2]).read_text()))
        PACKED.write_text(text)
        print(f"{PACKED}: {len(text)} bytes")
    else:
        sys.exit(__doc__)


main()
