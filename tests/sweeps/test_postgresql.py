"""The study in a PostgreSQL server: a real one, on a socket in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest

import sweeps
from s4core.train.report import EpochReport
from sweeps import Finished, Outcome, Study, TrialSpec

pytestmark = pytest.mark.slow

Load = Callable[..., sweeps.SweepSpec]


class Server:
    """A PostgreSQL cluster in `folder`; it refuses to run as root, and so gets its own user."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._user = "postgres" if os.getuid() == 0 else None
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._call("initdb", "--auth=trust", "--username=postgres", "--no-sync")

    @property
    def url(self) -> str:
        return f"postgresql+psycopg:///postgres?host={self._folder}&user=postgres"

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self._folder}"
        log = str(self._folder / "log")
        self._call("pg_ctl", "start", "--wait", f"--log={log}", f"--options={options}")

    def stop(self) -> None:
        self._call("pg_ctl", "stop", "--wait", "--mode=fast")

    def _call(self, program: str, *words: str) -> None:
        command = [str(self._programs / program), f"--pgdata={self._folder / 'data'}", *words]
        subprocess.run(
            command, check=True, user=self._user, cwd=self._folder, stdout=subprocess.DEVNULL
        )


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg")
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("no PostgreSQL here (scripts/system-packages --all)")
    with tempfile.TemporaryDirectory(prefix="s4pg-") as folder:
        server = Server(programs[-1], Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def one(study: Study) -> None:
    spec = study.ask()
    assert isinstance(spec, TrialSpec)
    outcome = Outcome(study.spec.objectives)
    for epoch, stopped_by in ((1, None), (2, "epochs")):
        metrics = {"val/accuracy": 0.5 + spec.number / 10}
        report = EpochReport(epoch=epoch, metrics=metrics, stopped_by=stopped_by)
        outcome.add(report)
        study.report(spec.number, report)
    study.tell(outcome.result(spec))


def test_a_study_is_driven_steered_and_outlives_a_restart_of_its_server(
    load: Load,
    tiny_text: str,
    tmp_path: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_STORAGE", server.url)
    study = Study.create(load(tiny_text + "storage: {env: MY_STORAGE}\n"), tmp_path)
    study.recover()
    other = Study.open("tiny", tmp_path)  # of somebody at another terminal
    one(study)
    server.stop()
    server.start()
    one(study)
    assert [t.value for t in other.result().trials] == [0.5, 0.6]
    other.extend(-1)
    orphan = study.ask()
    assert isinstance(orphan, TrialSpec)
    after = Study.open("tiny", tmp_path)  # the next driver
    after.recover()
    one(after)
    assert after.ask() == Finished("3 trials")
    assert [t.number for t in after.result().trials] == [0, 1, orphan.number]
    storage = optuna.storages.RDBStorage(server.url)  # as optuna-dashboard does
    assert [t.values for t in storage.get_all_trials(1)] == [[0.5], [0.6], [0.7]]
    assert not (study.folder / "study.journal").exists()
    for opened in (storage, *(s.ledger.storage for s in (study, other, after))):
        assert isinstance(opened, optuna.storages.RDBStorage)
        opened.remove_session()
        opened.engine.dispose()
