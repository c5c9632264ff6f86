"""Shares by measured memory: what fits, what doubles, and a sweep that is packed on a real Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_contract import Watcher, check_record, tiny

from cluster.driver import Settings, drive
from cluster.packing import Packing, smallest_gpu_gb
from cluster.placement import Placement
from cluster.runtime import ray_running
from s4core.train.report import EpochReport
from sweeps import Study
from sweeps.spec import Resources
from sweeps.types import TrialState


def report(peak_mb: float) -> EpochReport:
    metrics = {"val/accuracy": 0.5, "peak_memory_mb": peak_mb}
    return EpochReport(epoch=1, metrics=metrics, best=True, stopped_by=None)


def packing(
    *, gpus: float, peaks_mb: tuple[float, ...] = (), gpu_gb: float | None = None
) -> Packing:
    return Packing(Placement(gpus=gpus), peaks_mb=peaks_mb, gpu_gb=gpu_gb, node_gb=64.0)


@pytest.mark.parametrize(
    ("peak_mb", "gpu_gb", "share"),
    [
        (1_000, 80.0, 0.0232),  # 1.25 + 0.6 GB: 43 of them
        (10_000, 80.0, 0.1666),  # 13.1 GB: 6
        (30_000, 80.0, 0.5),
        (60_000, 80.0, 1.0),
        (90_000, 80.0, 1.0),
        (1_000, None, 1.0),  # nobody knows how large it is
    ],
)
def test_a_gpu_is_shared_by_as_many_as_fit(
    peak_mb: float, gpu_gb: float | None, share: float
) -> None:
    made = packing(gpus=1, gpu_gb=gpu_gb)
    assert made.placement.gpus == 1, "nothing is known"
    assert made.measured(report(peak_mb))
    assert made.placement.gpus == share
    assert not made.measured(report(peak_mb)), "the second report changes nothing by itself"


def test_a_trial_without_gpu_is_given_what_was_measured_and_a_quarter() -> None:
    made = packing(gpus=0, peaks_mb=(400.0, 800.0))
    assert made.is_known
    assert made.placement.memory_gb == 1.0
    assert made.line(12) == (
        "packing: trials hold up to 0.8 GB, so each is given 1 GB: 12 at a time"
    )


def test_a_share_that_was_outgrown_doubles_until_it_is_the_whole() -> None:
    made = packing(gpus=0, peaks_mb=(16_000.0,))
    assert not made.outgrown("ValueError")
    grown = []
    while made.outgrown("TooMuchMemory"):
        grown.append(made.placement.memory_gb)
    assert grown == [40.0, 64.0]
    on_gpu = packing(gpus=1, peaks_mb=(10_000.0,), gpu_gb=80.0)
    shares = []
    while on_gpu.outgrown("OutOfMemoryError"):
        shares.append(on_gpu.placement.gpus)
    assert shares == [0.3333, 1.0]


def test_nothing_is_outgrown_while_a_trial_has_a_whole_gpu() -> None:
    assert not packing(gpus=1, gpu_gb=80.0).outgrown("OutOfMemoryError")


def test_the_smallest_gpu_counts() -> None:
    seen = [["NVIDIA H100, 570.1, 81559 MiB"], [], ["NVIDIA A10, 570.1, 23028 MiB"]]
    assert smallest_gpu_gb(seen) == pytest.approx(24.15, abs=0.01)
    assert smallest_gpu_gb([[]]) is None


@pytest.mark.parametrize("wrong", [{"gpus": 0.5}, {"workers": 2}, {"memory_gb": 4}])
def test_settings_that_contradict_packing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="with pack: true"):
        Resources(pack=True, **wrong)  # type: ignore[arg-type]


@pytest.fixture
def ray() -> Iterator[None]:
    with ray_running(None, cpus=2):
        yield


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_sweep_is_measured_then_packed_and_a_large_trial_gets_more(
    ray: None, tmp_path: Path
) -> None:
    """A trial that holds 1.2 GB in a later epoch is started again from there, and none fails."""
    model = {"name": "lab.faulty", "fault": {"choice": ["none", "hold"]}, "at": 5}
    search = {"sampler": "grid", "trials": 2}
    resources = {"pack": True}
    spec = tiny(tmp_path, model=model, search=search, train={"lr": 0.01}, resources=resources)
    watcher = Watcher()
    study = Study.create(spec, tmp_path)
    settings = Settings(track=False, test=False)
    result = drive(study, tmp_path, show=watcher, settings=settings).result
    assert [t.state for t in result.trials] == [TrialState.COMPLETED] * 2
    check_record(tmp_path, "tiny", trials=2)
    told = [note for note in watcher.notes if "packing: " in note or "outgrew" in note]
    assert "packing: trials hold up to" in told[0]
    assert any("outgrew its share and is started again with more" in note for note in told)
    first, *_, last = (n.split(" is given ")[1].split(" GB")[0] for n in told if "given" in n)
    assert float(last) >= 2 * float(first)
    assert watcher.epochs == {0: [1, 2, 3], 1: [1, 2, 3]}
