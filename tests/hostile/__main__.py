"""`python -m tests.hostile --minutes N`: read damaged files for as long, in a process that may die of them.

Each case is drawn from its number: `--first NUMBER --cases 1` repeats it.
"""

import argparse
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.hostile.cases import CASES, run_case

BATCH = 300  # cases of one process
STALL = 300  # seconds without a finished case, after which the process is ended
SLOW = 10  # seconds of the processor for a case
MEMORY = 6 << 30  # bytes of address space of a process


def main() -> int:
    """Returns 1 where something was found."""
    top = argparse.ArgumentParser(prog="tests.hostile", description=__doc__)
    top.add_argument("--minutes", type=float, default=1.0, help="how long (default: %(default)s)")
    top.add_argument("--first", type=int, help="number of the first case (default: by the clock)")
    top.add_argument("--cases", type=int, help="run so many cases in this process and end")
    top.add_argument("--only", action="append", choices=sorted(CASES), help="a kind of case; repeatable (default: all)")
    args = top.parse_args()
    kinds, first = args.only or sorted(CASES), args.first if args.first is not None else time.time_ns() // 1_000_000
    if args.cases:
        return _batch(kinds, first, args.cases)
    end, counts, findings = time.monotonic() + 60 * args.minutes, Counter[str](), 0
    while time.monotonic() < end:
        done, failures = _batch_in_process(kinds, first, counts)
        first += done
        findings += failures
    print(
        f"{sum(counts.values())} cases, {findings} findings: "
        + ", ".join(f"{n} {k}" for k, n in sorted(counts.items()))
    )
    return 1 if findings else 0


def _batch(kinds: list[str], first: int, count: int) -> int:
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    code = 0
    with TemporaryDirectory() as folder:
        for number in range(first, first + count):
            kind = random.Random(number).choice(kinds)
            print(f"case {number} {kind}", flush=True)
            began = time.process_time()  # of this process: the machine may be shared
            try:
                run_case(kind, number, Path(folder))
            except Exception as error:
                code = 1
                print(f"FOUND {number} {kind}: {type(error).__name__}: {error}", flush=True)
            if time.process_time() - began > SLOW:
                print(f"SLOW {number} {kind}: {time.process_time() - began:.1f} s", flush=True)
    return code


def _batch_in_process(kinds: list[str], first: int, counts: "Counter[str]") -> tuple[int, int]:
    """Cases done, and findings, which are printed; a process that ends or stalls is one."""
    only = [part for kind in kinds for part in ("--only", kind)]
    command = [sys.executable, "-m", "tests.hostile", "--first", str(first), "--cases", str(BATCH), *only]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    last, findings, done = "", 0, 0
    watch = _Watch(process)
    for line in process.stdout:
        watch.alive()
        if line.startswith("case "):
            last, done = line.strip(), done + 1
            counts[line.split()[2]] += 1
        else:
            findings += 1
            print(line.rstrip(), flush=True)
    code = process.wait()
    watch.stop()
    if code not in (0, 1):
        findings += 1
        print(f"FOUND {last}: the process ended with {code}", flush=True)
    return max(1, done), findings


class _Watch:
    """Ends a process that has written nothing for STALL seconds."""

    def __init__(self, process: subprocess.Popen):
        import threading

        self._process, self._last, self._stop = process, time.monotonic(), threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def alive(self) -> None:
        self._last = time.monotonic()

    def stop(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.wait(1):
            if time.monotonic() - self._last > STALL:
                self._process.kill()


if __name__ == "__main__":
    sys.exit(main())
