"""A real sweep on a real cluster of two nodes, by its job API alone: submit, follow, resume, stop.

One cluster for the whole file; the tests are one story and run in their order.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster import auth, cli, jobs, nodes, submit
from cluster.errors import UserError
from cluster.parcel import Parcel
from s4core.checkout import git_commit
from sweeps import Study, TrialState

pytestmark = [
    pytest.mark.ray,
    # Ray's client of the job API says it to aiohttp.
    pytest.mark.filterwarnings("ignore:ssl=None is deprecated:DeprecationWarning"),
]

SWEEP = """\
name: story
data: {name: listops, train: 48, val: 24, test: 24, min_length: 3, max_length: 16, l_max: 16}
model: {name: story_lab.small, width: {choice: [4, 8]}}
train: {epochs: 2, batch_size: 16, lr: {log_uniform: [0.001, 0.1]}}
search: {sampler: random, trials: 2}
"""
LAB = '''\
"""A model of somebody's own."""
import s4core
from s4core.config import TaskShape, config


@config
class Config:
    width: int = 4


def build(config, shape: TaskShape):
    return s4core.build({"name": "s4d", "d_model": config.width, "n_layers": 1}, shape)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("submit")
    (folder / "story_lab").mkdir()
    (folder / "story_lab" / "__init__.py").touch()
    (folder / "story_lab" / "small.py").write_text(LAB)
    (folder / "story.yaml").write_text(SWEEP)
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(folder / "token"))
        patch.setenv("S4SWEEP_HOME", str(folder / "home"))
        for name in ("RAY_AUTH_TOKEN", "RAY_ADDRESS", "S4SWEEP_ADDRESS"):
            patch.delenv(name, raising=False)
        # This process checks the sweep before it sends it, and must know the lab's model.
        patch.setattr(sys, "path", [str(folder), *sys.path])
        cluster = nodes.up(str(folder / "home"), workers=2, cpus=1)
        yield cluster.dashboard
        scratch = cluster.scratch
        assert scratch.exists()
        nodes.down(cluster)


def s4sweep(*words: str) -> tuple[int, str]:
    """Run a command in this process; its status, and all that it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = cli.main(list(words))
    return status, out.getvalue()


def words(folder: Path) -> list[str]:
    return [
        "submit",
        str(folder / "story.yaml"),
        "--allow-imports",
        "--module",
        str(folder / "story_lab"),
    ]


def test_a_dry_run_checks_data_models_resources_and_every_node(folder: Path, address: str) -> None:
    status, text = s4sweep(*words(folder), "--dry-run", "--json")
    assert status == 0, text
    found = json.loads(text)
    assert {"space", "data listops", "models", "cost", "resources"} < {f["where"] for f in found}
    assert sum("home writes in" in f["what"] for f in found) == 3
    assert {f["level"] for f in found} == {"ok"}


@pytest.mark.slow
def test_a_plan_compares_the_sweep_with_the_cluster(folder: Path, address: str) -> None:
    with_module = ["--allow-imports", "--module", str(folder / "story_lab")]
    plan = ["--plan", "--no-probe", "--address", address, *with_module]
    status, text = s4sweep("check", str(folder / "story.yaml"), *plan)
    assert status == 0, text
    assert "the cluster: 2 CPUs and 0 GPUs have room for 2 trials at a time" in text
    (folder / "large.yaml").write_text(f"{SWEEP}resources: {{gpus: 1}}\n")
    status, text = s4sweep("check", str(folder / "large.yaml"), *plan)
    assert status == 2
    assert "resources.gpus: 1 (a node has 0)" in text


def test_a_submitted_sweep_is_followed_to_its_end(folder: Path, address: str) -> None:
    status, text = s4sweep(*words(folder))
    assert status == 0, text
    assert f"submitted story as sweep-story-1 to {address}" in text
    assert "trial 0 started" in text
    assert "best: trial" in text
    again = f"--module {folder / 'story_lab'} --address {address}"
    assert f"s4sweep resume story --best --epochs +5 {again}" in text
    assert "s4sweep dashboard" not in text, "it would look in the home of who reads this"
    assert "job_manager" not in text
    result = Study.open("story", folder / "home").result()
    assert [t.state for t in result.trials] == [TrialState.COMPLETED] * 2


def test_the_same_name_is_refused_with_the_way_out(folder: Path, address: str) -> None:
    status, text = s4sweep(*words(folder))
    assert status == 2
    assert text.strip() == (
        f"s4sweep: 'story' was submitted before and succeeded: `s4sweep resume story --address "
        f"{address}` goes on with it, --name OTHER starts another."
    )


def test_the_log_of_an_attempt_can_be_read_again(folder: Path, address: str) -> None:
    status, first = s4sweep("logs", "story", "--address", address, "--attempt", "1")
    assert status == 0
    assert "trial 0 started" in first


@pytest.mark.slow
def test_resume_is_the_next_attempt_of_the_same_sweep(folder: Path, address: str) -> None:
    cluster, job = submit.resubmit(
        "story",
        ["--trials", "+1", "--no-tracking", "--no-test"],
        address=address,
        parcel=Parcel(modules=(folder / "story_lab",)),
    )
    assert job == "sweep-story-2"
    assert jobs.follow(cluster.client, job, io.StringIO()) == 0
    assert len(Study.open("story", folder / "home").result().trials) == 3
    status, last = s4sweep("logs", "story", "--follow", "--address", address)
    assert status == 0
    assert "trial 2 started" in last
    assert "trial 0 started" not in last


@pytest.mark.slow
def test_the_best_trial_runs_again_and_the_log_says_what_is_not_the_same(
    folder: Path, address: str
) -> None:
    """The job is in no checkout, and yet knows the commit it was sent from."""
    [kept, *_] = sorted((folder / "home/sweeps/story/environment").glob("*.json"))
    assert json.loads(kept.read_text())["git_commit"] == git_commit()
    best = Study.open("story", folder / "home").best()
    assert best is not None
    status, text = s4sweep("best", "story", "--trial", str(best.number), "--yaml")
    assert status == 0, text
    tree = yaml.safe_load(text)
    assert tree["ran_with"]["commit"] == git_commit()
    again = {**tree, "name": "again", "ran_with": {**tree["ran_with"], "torch": "1.0.0"}}
    (folder / "again.yaml").write_text(yaml.safe_dump(again))
    options = [*words(folder)[2:], "--no-tracking", "--no-test"]
    status, said = s4sweep("submit", str(folder / "again.yaml"), *options)
    assert status == 0, said
    found = [line for line in said.splitlines() if "that this repeats" in line]
    assert len(found) == 1
    assert "torch is " in found[0] and found[0].endswith(" and was 1.0.0")
    repeated = Study.open("again", folder / "home").best()
    assert repeated is not None and repeated.value == best.value


@pytest.mark.slow
def test_a_command_is_relayed_with_its_output_and_status(folder: Path, address: str) -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert submit.relay(address, ["status", "story", "--json"]) == 0
    assert json.loads(out.getvalue())["name"] == "story"
    with contextlib.redirect_stdout(out):
        assert submit.relay(address, ["status", "nosuch"]) == 2
    assert "no sweep 'nosuch'" in out.getvalue()


@pytest.mark.slow
def test_a_detached_sweep_goes_on_until_it_is_told_to_stop(folder: Path, address: str) -> None:
    text = SWEEP.replace("name: story\n", "name: long\n").replace("epochs: 2", "epochs: 100000")
    (folder / "long.yaml").write_text(text)
    options = [*words(folder)[2:], "--detach", "--no-tracking"]
    status, said = s4sweep("submit", str(folder / "long.yaml"), *options)
    assert status == 0, said
    assert f"`s4sweep stop long --address {address}` stops it" in said
    with pytest.raises(
        UserError,
        match=f"'long' is running as sweep-long-1: `s4sweep logs -f long --address {address}`",
    ):
        submit.resubmit("long", [], address=address, parcel=Parcel())
    record = folder / "home" / "sweeps" / "long" / "trials" / "0000" / "metrics.jsonl"
    deadline = time.monotonic() + 180
    while not record.exists() or len(record.read_text().splitlines()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    there = f"--address {address}"
    said = s4sweep("pause", "long", "--address", address)[1]
    assert f"paused; what runs goes on to its end, and `s4sweep resume long {there}`" in said
    status, said = s4sweep("resume", "long", "--address", address)
    assert status == 0 and "no longer paused" in said, said
    status, said = s4sweep("resume", "long", "--address", address)
    assert status == 2 and f"stop that one first: `s4sweep stop long {there}`" in said, said
    status, said = s4sweep("stop", "long")  # this machine sees the home
    assert status == 0, said
    client = jobs.connect(address)
    while not client.get_job_status("sweep-long-1").is_terminal():
        assert time.monotonic() < deadline + 60
        time.sleep(0.2)
    trials = Study.open("long", folder / "home").result().trials
    assert trials
    assert {t.state for t in trials} == {TrialState.RUNNING}


@pytest.mark.slow
def test_a_job_that_fails_at_once_says_so_even_when_detached(folder: Path, address: str) -> None:
    """The name is taken in the home by a sweep that this job API has never seen."""
    Study.create(
        Study.open("story", folder / "home").spec.__class__.from_json(
            {**Study.open("story", folder / "home").spec.to_json(), "name": "taken"}
        ),
        folder / "home",
    )
    status, text = s4sweep(*words(folder), "--name", "taken", "--detach")
    assert status == 2
    assert "the sweep 'taken' exists already" in text


def test_the_token_is_in_no_log_spec_database_or_job_description(
    folder: Path, address: str
) -> None:
    token = auth.read_token()
    assert token
    client = jobs.connect(address)
    for job in client.list_jobs():
        assert token not in job.model_dump_json()
        assert token not in client.get_job_logs(job.submission_id)
    places = [folder / "home", nodes.load("local").scratch]  # type: ignore[union-attr]
    files = [p for place in places for p in place.rglob("*") if p.is_file()]
    assert len(files) > 50
    assert not [p for p in files if token.encode() in p.read_bytes()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RAY_AUTH_TOKEN": "wrong"}, "does not accept the token"),
        ({"S4SWEEP_ADDRESS": "http://127.0.0.1:1"}, "no Ray dashboard answers at"),
        ({"S4SWEEP_ADDRESS": "http://192.0.2.9:8265"}, "would get the token unencrypted"),
        ({"S4SWEEP_ADDRESS": "head:8265"}, "is no URL: write http(s)://HEAD:8265"),
    ],
)
def test_a_cluster_that_cannot_be_used_is_explained_in_one_line(
    folder: Path,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    message: str,
) -> None:
    for name, value in change.items():
        monkeypatch.setenv(name, value)
    status, text = s4sweep(*words(folder))
    assert status == 2
    assert message in text
    assert len(text.strip().splitlines()) == 1
