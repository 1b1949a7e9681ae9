#!/usr/bin/env python3
"""Times this library and others on the same weights, in turns, and prints how they compare.

Each library runs in a process of its own; all but the one that is being timed wait. A figure is the
median over the rounds that nobody disturbed, or the least disturbed round. Weights, and the inputs
of quantizing, rotate through more memory than the caches hold.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from peers.case import Case

TOOLS = pathlib.Path(__file__).resolve().parent
VENV = TOOLS.parent / ".venv"
QUIET = 0.1
SHAPES = ["14336x4096", "4096x4096", "1024x4096", "576x1536"]
BATCHES = [1, 2, 4, 8, 16, 32, 64, 256, 1024]


class Worker:
    """A process that times one library."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=TOOLS,
            # Huge pages for numpy's arrays alone would be unfair.
            env={**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"},
            text=True,
        )
        self.about = self.answer()["about"]

    def send(self, **request) -> None:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def ask(self, **request) -> dict:
        self.send(**request)
        return self.answer()

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: ended with status {self.process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def environment(options: argparse.Namespace) -> tuple[str, pathlib.Path | None]:
    """A Python with the libraries, and the folder of the fork, which shares a name with one."""
    if options.python:
        return options.python, options.fork
    python = VENV / "bench" / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", VENV / "bench"], check=True)
    requirements = TOOLS / "requirements-bench.txt"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True)
    fork = options.fork or VENV / "bench-fork"
    if not fork.exists():
        package = ["-m", "pip", "install", "-q", "--no-deps", "--target", fork]
        subprocess.run([python, *package, "bitsandbytes-cpu-fork"], check=False)
    return str(python), fork if fork.exists() else None


def start(options: argparse.Namespace) -> list[Worker]:
    python, fork = environment(options)
    library = options.library.resolve()
    commands = {
        "fourbit": [python, "ours", str(library)],
        "bitsandbytes": [python, "bnb"],
        "cpu-fork": [python, "bnb", str(fork)] if fork else None,
        "onnxruntime": [options.onnx_python or python, "onnx_matmulbnb4"],
        "torch dense": [python, "dense"],
    }
    numbers = [str(options.threads), str(options.rotation)]
    workers = []
    for name, command in commands.items():
        if not command or (options.peer and name not in ["fourbit", *options.peer]):
            continue
        program, module, *rest = command
        try:
            workers.append(Worker(name, [program, "-m", "peers.worker", module, *numbers, *rest]))
        except RuntimeError as error:
            if name == "fourbit":
                raise
            print(f"left out: {error}", file=sys.stderr)
    return workers


def time_in_turns(workers: list[Worker], options: argparse.Namespace) -> dict[str, dict]:
    """The workers' figures for the case they have prepared."""
    rounds: dict[str, list[dict]] = {worker.name: [] for worker in workers}
    for attempt in range(options.rounds + options.extra_rounds):
        for worker in workers:
            done = rounds[worker.name]
            quiet = sum(figure["busy"] < QUIET for figure in done)
            # After the planned rounds, only who was disturbed in all of them goes on.
            if attempt >= options.rounds and quiet > 0:
                continue
            # Threads of the library before may still be spinning.
            time.sleep(0.05)
            done.append(worker.ask(time=options.budget, patience=options.patience))
    return {name: combined(figures) for name, figures in rounds.items()}


def combined(figures: list[dict]) -> dict:
    good = [f for f in figures if f["busy"] < QUIET] or [min(figures, key=lambda f: f["busy"])]
    return {
        "ms": statistics.median(f["ms"] for f in good),
        "fastest_ms": min(f["fastest"] for f in good),
        "count": sum(f["count"] for f in good),
        "rounds": len(good),
        "busy": max(f["busy"] for f in good),
    }


def check_probes(case: Case, probes: dict[str, list[float]]) -> None:
    """All libraries must have computed the same thing."""
    ours = probes.get("fourbit") or []
    size = max((abs(v) for v in ours), default=0.0)
    for name, theirs in probes.items():
        if (
            ours
            and theirs
            and any(abs(a - b) > 0.05 * size for a, b in zip(ours, theirs, strict=True))
        ):
            raise SystemExit(f"{case.title()}: {name} computes {theirs}, fourbit {ours}")


def cases(options: argparse.Namespace) -> list[Case]:
    out = []
    for shape in options.shape or (SHAPES[-1:] if options.quick else SHAPES):
        n, k = (int(number) for number in shape.split("x"))
        for double in (False, True):
            out.append(Case("quantize", n, k, "bfloat16", double=double))
        for dtype in ("bfloat16", "float32"):
            out += [Case("dequantize", n, k, dtype, fresh=fresh) for fresh in (False, True)]
        for dtype in ("bfloat16", "float32"):
            batches = options.batch or ([1, 16] if options.quick else BATCHES)
            out += [Case("gemm", n, k, dtype, m=m) for m in batches]
        out.append(Case("gemm", n, k, "bfloat16", m=1, double=True))
    return [c for c in out if not options.only or c.operation in options.only]


def row(result: dict, names: list[str]) -> str:
    ours = result["figures"]["fourbit"]
    cells = [result["title"], f"{ours['ms']:.3f}"]
    for name in names[1:]:
        figure = result["figures"].get(name)
        cells.append(f"{figure['ms']:.3f} ({figure['ms'] / ours['ms']:.2f}x)" if figure else "")
    busy = max(figure["busy"] for figure in result["figures"].values())
    return "| " + " | ".join([*cells, f"{busy:.0%}"]) + " |"


def table_head(names: list[str]) -> str:
    cells = ["milliseconds", names[0], *(f"{name} (x fourbit)" for name in names[1:]), "others"]
    return "| " + " | ".join(cells) + " |\n|" + " --- |" * len(cells)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    path = pathlib.Path
    parser.add_argument("--library", type=path, required=True, help="libfourbit.so")
    parser.add_argument("--python", help="a Python that has the libraries (default: .venv/bench)")
    parser.add_argument("--onnx-python", help="another one for ONNX Runtime")
    parser.add_argument("--fork", type=path, help="folder with bitsandbytes-cpu-fork")
    parser.add_argument("--peer", action="append", default=[], help="only these; repeatable")
    parser.add_argument("--only", action="append", default=[], help="operation; repeatable")
    parser.add_argument("--shape", action="append", default=[], help="NxK; repeatable")
    parser.add_argument("--batch", action="append", type=int, default=[], help="M; repeatable")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one small shape")
    parser.add_argument("--budget", type=float, default=0.3, help="seconds per figure and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--extra-rounds", type=int, default=4, help="if all were disturbed")
    parser.add_argument("--patience", type=float, default=5, help="seconds to wait for quiet")
    parser.add_argument("--rotation", type=int, default=1500 << 20, help="bytes of weights")
    parser.add_argument("--label", default="", help="text for the result, such as a commit")
    parser.add_argument("--out", type=path, help="write OUT.md and OUT.json")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with contextlib.ExitStack() as stack:
        workers = start(options)
        for worker in workers:
            stack.callback(worker.close)
        names = [worker.name for worker in workers]
        head = [f"* {worker.name}: {worker.about}" for worker in workers]
        head.append(
            f"* {options.threads} threads; weights rotate through {options.rotation / 1e9:.2f} GB"
        )
        if options.label:
            head.append(f"* {options.label}")
        text = "\n".join([*head, "", table_head(names)])
        print(text, flush=True)
        results = []
        for case in cases(options):
            for worker in workers:
                worker.send(prepare=dataclasses.asdict(case))
            answers = {worker.name: worker.answer() for worker in workers}
            check_probes(case, {n: a["probe"] for n, a in answers.items() if a["ready"]})
            ready = [worker for worker in workers if answers[worker.name]["ready"]]
            figures = time_in_turns(ready, options)
            result = {**dataclasses.asdict(case), "title": case.title(), "figures": figures}
            results.append(result)
            text += "\n" + row(result, names)
            print(row(result, names), flush=True)
            if options.out:
                save(options, head, text, results)


def save(options: argparse.Namespace, head: list[str], text: str, results: list[dict]) -> None:
    """Written after every figure: a run that is cut short is not lost."""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.with_suffix(".md").write_text(text + "\n")
    options.out.with_suffix(".json").write_text(
        json.dumps({"about": head, "results": results}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
