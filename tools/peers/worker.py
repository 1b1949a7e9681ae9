"""A process that prepares and times cases for one library: a line of JSON in, a line out.

Usage: python -m peers.worker PEER THREADS ROTATION_BYTES [ARGUMENT]
{"prepare": CASE} answers {"ready": bool, "probe": [values]}; {"time": seconds} answers {"ms": [..],
"busy": share of the machine that others used meanwhile}.
"""

import importlib
import json
import os
import statistics
import sys
import time

from peers.case import Case

TICKS = os.sysconf("SC_CLK_TCK")


def now() -> tuple[float, float, float]:
    """Busy seconds and all seconds of all processors, and this process's own."""
    with open("/proc/stat") as file:
        ticks = [int(t) for t in file.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / TICKS, sum(ticks) / TICKS, time.process_time()


def others(since: tuple[float, float, float]) -> float:
    busy, everything, own = (b - a for a, b in zip(since, now(), strict=True))
    return max(0.0, (busy - own) / max(everything, 1e-9))


def wait_until_quiet(patience: float) -> None:
    end = time.monotonic() + patience
    while time.monotonic() < end:
        start = now()
        time.sleep(0.3)
        if others(start) < 0.05:
            return


def measure(operation, budget: float, patience: float) -> dict:
    """One untimed call, then at least three and until the budget is spent."""
    wait_until_quiet(patience)
    operation(0)
    times: list[float] = []
    since, end = now(), time.perf_counter() + budget
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        operation(len(times) + 1)
        times.append((time.perf_counter() - start) * 1e3)
    return {
        "ms": statistics.median(times),
        "fastest": min(times),
        "count": len(times),
        "busy": others(since),
    }


def serve(peer) -> None:
    operation = None
    # Libraries print what they like; the answers have a channel of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps({"about": peer.about()}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            operation = None
            prepared = peer.prepare(Case(**request["prepare"]))
            operation, probe = prepared or (None, [])
            answer = {"ready": operation is not None, "probe": probe}
        else:
            answer = measure(operation, request["time"], request["patience"])
        print(json.dumps(answer), file=answers, flush=True)


def main() -> None:
    name, threads, rotation, *rest = sys.argv[1:]
    os.environ["OMP_NUM_THREADS"] = threads
    module = importlib.import_module(f"peers.{name}")
    serve(module.Peer(int(threads), int(rotation), *rest))


if __name__ == "__main__":
    main()
