"""Fair comparisons on a busy machine: variants take turns, one thread, medians of CPU time.

Process CPU time leaves out what other processes take; taking turns leaves out what the clock and
the caches do over minutes.  Peak memory is that of a fresh process, over what its inputs take (a
child's ru_maxrss starts at its parent's, so the kernel's own high-water mark is read).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

Run = Callable[[], object]


def chosen(parts: Iterable[str], document: str | None) -> list[str]:
    """The parts that the command line names, all of them if it names none."""
    parser = argparse.ArgumentParser(
        description=document, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    names: list[str] = parser.parse_args().parts
    if unknown := [name for name in names if name not in parts]:
        parser.error(f"no part {unknown[0]!r}: choose from {', '.join(parts)}.")
    return names or list(parts)


def interleaved(variants: Mapping[str, Run], *, rounds: int = 7) -> dict[str, float]:
    """Median milliseconds of CPU time of each variant; two rounds first to warm up."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds + 2):
        for name, run in variants.items():
            start = time.process_time()
            run()
            times[name].append((time.process_time() - start) * 1e3)
    return {name: statistics.median(values[2:]) for name, values in times.items()}


def peak_mb(run: Run) -> float:
    """Megabytes that `run` adds to the memory of this process at its peak (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1024


def _status(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return float(line.split()[1])
    raise KeyError(key)


def peak_in_child(script: str, *arguments: str) -> float:
    """The number that `python script --peak arguments` prints."""
    answer = subprocess.run(
        [sys.executable, script, "--peak", *arguments], capture_output=True, text=True, check=True
    )
    return float(answer.stdout.split()[-1])
