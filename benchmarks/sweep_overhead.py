"""What the platform itself costs, apart from training.

    python benchmarks/sweep_overhead.py study      # ask, report, tell against the number of trials
    python benchmarks/sweep_overhead.py simulate   # thousands of trials at once, in virtual time
    python benchmarks/sweep_overhead.py ray        # 1,000 real trials of a second's worth of work

`study` and `simulate` use the real study on a real journal; only the trials are played. In virtual
time the clock jumps to the next report, so that the measured seconds are those of the driver alone:
reports per second is how many it could take if the cluster sent them as fast.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import sweeps
from s4core.train.report import EpochReport
from sweeps.trial import MetricsLog

EPOCHS = 10

YAML = """
name: {name}
data: {{name: listops, train: 64, val: 32, test: 32, min_length: 4, max_length: 24, l_max: 24}}
model:
  n_layers: {{int: [1, 6]}}
  d_model: 8
  choice:
    - {{name: s4d, init: {{choice: [lin, inv, legs]}}, dropout: {{uniform: [0.0, 0.3]}}}}
    - {{name: s4d, d_state: {{choice: [4, 8, 16]}}, dt_max: {{log_uniform: [0.01, 0.2]}}}}
train:
  epochs: {epochs}
  batch_size: 32
  lr: {{log_uniform: [0.001, 0.1]}}
  weight_decay: {{uniform: [0.0, 0.2]}}
search: {{sampler: {sampler}, pruner: {pruner}, trials: {trials}}}
resources: {{cpus: 1}}
"""


def spec_of(folder: Path, **values: object) -> sweeps.SweepSpec:
    """Write and read the sweep that is measured."""
    path = folder / f"{values['name']}.yaml"
    path.write_text(YAML.format(**{"epochs": EPOCHS, "pruner": "none", **values}))
    return sweeps.load_spec(path)


def curve(spec: sweeps.TrialSpec) -> Callable[[int], EpochReport]:
    """A curve that rises to a value which depends on the configuration."""
    top = 0.9 - 0.05 * abs(math.log10(spec.train["lr"]) + 2) - spec.train["weight_decay"] / 4
    noise = random.Random(spec.number)

    def report(epoch: int) -> EpochReport:
        value = top * (1 - 0.7**epoch) + noise.gauss(0, 0.005)
        metrics = {"val/accuracy": value, "val/loss": 1 - value, "epoch_s": 1.0}
        last = "epochs" if epoch == EPOCHS else None
        return EpochReport(epoch=epoch, metrics=metrics, stopped_by=last)

    return report


def measure_study(trials: int, sampler: str, pruner: str) -> None:
    """Play a sweep one trial after the other; print milliseconds per call."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        spec = spec_of(home, name="study", sampler=sampler, pruner=pruner, trials=trials)
        study = sweeps.Study.create(spec, home)
        study.recover()
        spent: dict[str, list[float]] = {"ask": [], "report": [], "tell": []}

        def timed(name: str, call: Callable[[], object]) -> object:
            began, cpu = time.perf_counter(), time.process_time()
            result = call()
            spent[name].append(1e3 * (time.perf_counter() - began))
            used[name] += 1e3 * (time.process_time() - cpu)
            return result

        used = dict.fromkeys(spent, 0.0)
        print(f"{sampler} + {pruner}: milliseconds per call (median; worst; mean of CPU time)")
        for i in range(trials):
            trial = timed("ask", study.ask)
            assert isinstance(trial, sweeps.TrialSpec)
            outcome, report_of = sweeps.Outcome(spec.objectives), curve(trial)
            is_pruned = False
            for epoch in range(1, EPOCHS + 1):
                report = report_of(epoch)
                outcome.add(report)
                is_pruned = bool(
                    timed("report", lambda r=report, n=trial.number: study.report(n, r))
                )
                if is_pruned:
                    break
            result = outcome.result(trial, pruned=is_pruned)
            timed("tell", lambda r=result: study.tell(r))
            if (i + 1) % max(1, trials // 4) == 0:
                figures = "  ".join(
                    f"{k} {statistics.median(v):.2f}; {max(v):.0f}; {used[k] / len(v):.2f}"
                    for k, v in spent.items()
                )
                print(f"  {i + 1:5d} trials  {figures}", flush=True)
                spent = {k: [] for k in spent}
                used = dict.fromkeys(spent, 0.0)
        size = (study.folder / "study.journal").stat().st_size
        print(f"  journal {size / 1e6:.1f} MB, peak memory {peak_mb():.0f} MB")
        began = time.perf_counter()
        sweeps.Study.open("study", home).result()
        print(f"  opened again in {time.perf_counter() - began:.2f} s")


def simulate(at_once: int, trials: int, epoch_s: float, sampler: str) -> None:
    """Run `trials` with `at_once` of them in virtual time; print what the driver could take."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        spec = spec_of(home, name="simulated", sampler=sampler, pruner="asha", trials=trials)
        study = sweeps.Study.create(spec, home)
        study.recover()
        rng = random.Random(0)
        events: list[tuple[float, int, int]] = []
        running: dict[int, tuple[sweeps.TrialSpec, sweeps.Outcome, MetricsLog]] = {}
        clock, reports, began, cpu = 0.0, 0, time.perf_counter(), time.process_time()
        worst = workers = 0.0

        def start() -> bool:
            trial = study.ask()
            if not isinstance(trial, sweeps.TrialSpec):
                return False
            path = study.trial_folder(trial.number)
            path.mkdir(parents=True, exist_ok=True)
            running[trial.number] = (
                trial, sweeps.Outcome(spec.objectives), MetricsLog(path / "metrics.jsonl")
            )  # fmt: skip
            heapq.heappush(events, (clock + rng.uniform(0.5, 1.5) * epoch_s, trial.number, 1))
            return True

        while len(running) < at_once and start():
            pass
        started = time.perf_counter() - began
        while events:
            clock, number, epoch = heapq.heappop(events)
            trial, outcome, log = running[number]
            report = curve(trial)(epoch)
            before = time.perf_counter()
            log.append(report)  # what a worker does, and so not the driver's time
            workers += time.perf_counter() - before
            before = time.perf_counter()
            outcome.add(report)
            is_pruned = study.report(number, report)
            if is_pruned or epoch == EPOCHS:
                study.tell(outcome.result(trial, pruned=is_pruned))
                del running[number]
                start()
            else:
                again = clock + rng.uniform(0.5, 1.5) * epoch_s
                heapq.heappush(events, (again, number, epoch + 1))
            worst = max(worst, time.perf_counter() - before)
            reports += 1
        took, cpu = time.perf_counter() - began - workers, time.process_time() - cpu
        result = study.result()
        done = [t for t in result.trials if t.state.is_finished]
        lines = sum(
            len((study.trial_folder(t.number) / "metrics.jsonl").read_text().splitlines())
            for t in result.trials
        )
        assert len(done) == trials and lines == reports == sum(t.epochs for t in done)
        rate = reports / took
        print(
            f"  {at_once:5d} at once, {trials} by {sampler}, {reports} reports: {took:.1f} s "
            f"of driver ({cpu:.1f} s of CPU; {started:.1f} s to start the first), {rate:.0f} "
            f"reports/s, worst step {1e3 * worst:.0f} ms, {peak_mb():.0f} MB; keeps up with "
            f"epochs of {at_once / rate:.1f} s or more",
            flush=True,
        )


def run_ray(trials: int) -> None:
    """Run real trials of one short epoch on this machine's cores, by the real engine."""
    from cluster.driver import Settings, drive
    from cluster.live import choose

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        spec = spec_of(home, name="ray", sampler="random", trials=trials, epochs=1)
        study = sweeps.Study.create(spec, home)
        show = choose(
            "quiet", known=study.result(), target=lambda: trials, trial_folder=study.trial_folder
        )
        began = time.perf_counter()
        drive(study, home, show=show, settings=Settings(track=False, test=False))
        took = time.perf_counter() - began
        print(f"{trials} trials in {took:.0f} s: {json.dumps(_counts(study))}")
        step = max(1, trials // 5)
        for part in [_gaps(study)[i : i + step] for i in range(0, trials - step + 1, step)]:
            waits, setups, paces = ([gap[i] for gap in part] for i in range(3))
            print(
                f"  {len(part)} trials, median; worst: {_both(waits)} s from the end of a trial to "
                f"the next in its worker, {_both(setups)} s from there to its first step, "
                f"{_both(paces)} s from start to start"
            )
        print(f"  peak memory of the driver {peak_mb():.0f} MB")


def _gaps(study: sweeps.Study) -> list[tuple[float, float, float]]:
    """Of each trial in a worker that has had one before, in order: seconds from that one's end to
    its start, from its start to its first step, and from that one's start to its own."""
    by_worker: dict[int, list[tuple[float, float, float]]] = {}
    for trial in study.result().trials:
        folder = study.trial_folder(trial.number)
        begun = json.loads((folder / "attempts.jsonl").read_text().splitlines()[0])
        line = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
        trains = line["time"] - line["metrics"]["epoch_s"]
        by_worker.setdefault(begun["pid"], []).append((begun["time"], trains, trial.ended or 0.0))
    gaps = []
    for trials in by_worker.values():
        trials.sort()
        gaps += [
            (begins, begins - ended, trains - begins, begins - before)
            for (before, _, ended), (begins, trains, _) in itertools.pairwise(trials)
        ]
    return [gap[1:] for gap in sorted(gaps)]


def _both(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f}; {max(seconds):.2f}"


def _counts(study: sweeps.Study) -> dict[str, int]:
    states = [t.state.value for t in study.result().trials]
    return {state: states.count(state) for state in sorted(set(states))}


def peak_mb() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("study", "simulate", "ray"))
    parser.add_argument("--trials", type=int)
    args = parser.parse_args()
    if args.what == "study":
        for sampler, pruner in (("random", "none"), ("tpe", "asha"), ("tpe", "median")):
            measure_study(args.trials or 1000, sampler, pruner)
    elif args.what == "simulate":
        print(f"{EPOCHS} epochs of 60 s (virtual) a trial, asha; load {os.getloadavg()[0]:.1f}")
        cases = ((10, 300, "tpe"), (100, 500, "tpe"), (1000, 1000, "tpe"), (4000, 4000, "random"))
        for at_once, trials, sampler in cases:
            simulate(at_once, args.trials or trials, 60.0, sampler)
    else:
        run_ray(args.trials or 1000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
