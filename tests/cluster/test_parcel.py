"""What travels with a job: small, complete, and without a secret."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import auth, jobs, parcel, submit
from cluster.cli import main
from cluster.errors import UserError
from cluster.parcel import Parcel
from s4core.checkout import git_commit, git_diff
from sweeps import SpecError, load_spec

BASE = "data: {name: smnist, variant: mlxtend5k}\nmodel: {name: s4d}\n"


def test_the_sweep_travels_with_what_it_includes_and_reads_the_same(tmp_path: Path) -> None:
    (tmp_path / "lab" / "deep").mkdir(parents=True)
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "lab" / "middle.yaml").write_text("include: ../base.yaml\ntrain: {epochs: 3}\n")
    sweep = tmp_path / "lab" / "deep" / "sweep.yaml"
    sweep.write_text("include: [../middle.yaml]\nname: far\n")
    target = tmp_path / "sent"
    target.mkdir()
    luggage = Parcel(sweep=sweep)
    luggage.runtime_env(target)
    sent = sorted(str(p.relative_to(target)) for p in target.rglob("*.yaml") if p.is_file())
    assert sent == ["base.yaml", "lab/deep/sweep.yaml", "lab/middle.yaml"]
    assert luggage.sweep_name() == "lab/deep/sweep.yaml"
    assert load_spec(target / luggage.sweep_name()) == load_spec(sweep)


def test_a_sweep_alone_travels_alone(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(BASE)
    assert Parcel(sweep=sweep).sweep_name() == "sweep.yaml"


def test_our_five_packages_travel_and_are_small(tmp_path: Path) -> None:
    found = Parcel().runtime_env(tmp_path)["py_modules"]
    assert [Path(p).name for p in found] == list(parcel.PACKAGES)
    assert all((Path(p) / "__init__.py").is_file() for p in found)


def test_data_among_the_packages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcel, "MAX_CODE_BYTES", 1000)
    with pytest.raises(UserError, match="is data among them"):
        parcel.code_folders()


def test_a_module_that_is_no_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--module wants the folder of a package"):
        Parcel(modules=(tmp_path,)).runtime_env(tmp_path)


def test_no_secret_is_in_the_description_of_a_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment of the laptop stays on the laptop."""
    for name in ("RAY_AUTH_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "s3cr3t")
    luggage = Parcel(home="/mnt/home", mlflow="https://mlflow.lab", pip=True)
    text = json.dumps(luggage.runtime_env(tmp_path))
    assert "s3cr3t" not in text
    code = {"S4SWEEP_COMMIT": git_commit(), "S4SWEEP_PATCH": git_diff() and "checkout.patch"}
    assert luggage.variables() == {
        **{name: value for name, value in code.items() if value},
        "RAY_USAGE_STATS_ENABLED": "0",
        "S4SWEEP_ADDRESS": "",
        "S4SWEEP_HOME": "/mnt/home",
        "MLFLOW_TRACKING_URI": "https://mlflow.lab",
    }


def test_a_copy_that_was_sent_knows_its_commit_and_its_changes(tmp_path: Path) -> None:
    """As on a cluster: the package lies in no checkout."""
    copy, work = tmp_path / "copy" / "s4core", tmp_path / "work"
    shutil.copytree(parcel.code_folders()[0], copy)
    work.mkdir()
    (work / "checkout.patch").write_text("--- a\n+++ b\n")
    script = "from s4core.checkout import *; print(git_commit(), len(git_diff()))"
    for given, said in (
        ({}, "None 0"),
        ({"S4SWEEP_COMMIT": "f00-dirty", "S4SWEEP_PATCH": "checkout.patch"}, "f00-dirty 12"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(copy.parent), **given},
            cwd=work,
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == said, done.stderr


def test_a_password_in_the_tracking_uri_is_refused() -> None:
    with pytest.raises(UserError, match="MLFLOW_TRACKING_PASSWORD on the nodes"):
        Parcel(mlflow="https://anna:pa55@mlflow.lab").variables()


def test_pinned_dependencies_name_exact_versions() -> None:
    found = parcel.pins()
    assert any(pin.startswith("ray[default,tune]==") for pin in found)
    assert all("==" in pin for pin in found)
    assert len(found) >= 10


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"S4SWEEP_ADDRESS": "https://head:8265/"}, "https://head:8265"),
        ({"RAY_ADDRESS": "http://127.0.0.1:8265"}, "http://127.0.0.1:8265"),
        ({"S4SWEEP_ADDRESS": "http://a:1", "RAY_ADDRESS": "http://b:2"}, "http://a:1"),
    ],
)
def test_the_address_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], expected: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("S4SWEEP_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="s4sweep cluster up --local 2"):
        jobs.find_address()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert jobs.find_address() == expected
    assert jobs.find_address("http://given:3") == "http://given:3"


@pytest.mark.parametrize("verb", ["status", "logs", "stop", "list", "resume", "pause"])
def test_a_command_about_a_sweep_goes_to_the_address_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """As `submit` does: what it started is looked at from any machine with the same words."""
    monkeypatch.setenv("S4SWEEP_ADDRESS", "http://127.0.0.1:1")
    words = [verb] if verb == "list" else [verb, "far"]
    assert main(words) == 2
    assert "no Ray dashboard answers at http://127.0.0.1:1" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["head:8265", "auto", "ray://head:10001", "http://"])
def test_an_address_that_is_no_url_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="is no URL: write http"):
        jobs.find_address(address)


def test_a_distant_cluster_needs_https_or_consent() -> None:
    with pytest.raises(UserError, match="would get the token unencrypted"):
        jobs.check_protection("http://192.0.2.7:8265")
    jobs.check_protection("http://192.0.2.7:8265", insecure=True)
    jobs.check_protection("http://127.0.0.1:8265")


def test_rays_own_lines_are_taken_out_of_a_log() -> None:
    log = (
        "2026-01-02 03:04:05,678\tINFO job_manager.py:568 -- Runtime env is setting up.\n"
        "Running entrypoint for job sweep-a-1: python -m cluster.cli run a.yaml\n"
        "starting Ray\n2026-01-02 a line of the user\n"
    )
    assert jobs.clean(log) == "starting Ray\n2026-01-02 a line of the user\n"


def test_a_sweep_is_data_no_code_runs_when_it_is_read(tmp_path: Path) -> None:
    """YAML tags that make objects are refused, and so are names that would import a module."""
    sweep = tmp_path / "sweep.yaml"
    flag = tmp_path / "ran"
    sweep.write_text(f"{BASE}notes: !!python/object/apply:os.mkdir ['{flag}']\n")
    with pytest.raises(SpecError, match="a tag"):
        load_spec(sweep)
    (tmp_path / "evil.py").write_text(f"import os; os.mkdir({str(flag)!r})")
    sweep.write_text(BASE.replace("name: s4d", "name: evil.model"))
    with pytest.raises(SpecError, match="--allow-imports"):
        load_spec(sweep)
    assert not flag.exists()


def test_a_token_that_others_can_read_is_never_used(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("x")
    path.chmod(0o666)
    auth.child_environment({"RAY_AUTH_TOKEN_PATH": str(path)})
    assert oct(os.stat(path).st_mode)[-3:] == "600"


def test_a_relayed_command_runs_there_as_it_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what was meant for this side, the address and the consent, is taken out."""
    sent: list[tuple[str, list[str], bool]] = []

    def relay(address: str, words: list[str], *, insecure: bool) -> int:
        sent.append((address, words, insecure))
        return 7

    monkeypatch.setattr(submit, "relay", relay)
    assert main(["status", "far", "--json", "--address", "http://h:1"]) == 7
    assert main(["stop", "--address=http://h:1", "--insecure", "far", "--now"]) == 7
    assert main(["extend", "far", "--trials", "+5", "--address", "http://h:1"]) == 7
    assert sent == [
        ("http://h:1", ["status", "far", "--json"], False),
        ("http://h:1", ["stop", "far", "--now"], True),
        ("http://h:1", ["extend", "far", "--trials", "+5"], False),
    ]


def test_a_url_is_no_address_for_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "a.yaml", "--address", "http://h:1"]) == 2
    assert "`s4sweep submit a.yaml --address http://h:1` runs it there" in capsys.readouterr().err
