"""Every rendered file fits the schema of what reads it, and no value can break out of its place."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cluster import render
from cluster.cli import main
from cluster.errors import UserError

SCHEMAS = Path(__file__).parent / "schemas"
SWEEP = "# lr: @{name}\nname: demo\nmodel: {name: s4d}\n\ntrain:\n  epochs: 2\n"
SIZES: list[dict[str, str | int]] = [
    {},
    {"gpus": 8},
    {"gpus": 8, "gpus_per_node": 4, "cpu_workers": 3},
    {"home": "s3://lab/s4sweep", "mlflow": "https://mlflow.lab:5000"},
    {"home": "/data/home", "cpu_workers": 1, "cpus": 2, "memory": 4},
]
CLOUDS: list[dict[str, str | int]] = [
    {"cloud": "aws", "region": "eu-west-1", "zone": "eu-west-1a"},
    {"cloud": "gcp", "project": "my-project"},
    {"cloud": "onprem", "head_ip": "head.lab", "worker_ips": "10.0.0.2,10.0.0.3"},
]


def only(kind: str, settings: dict[str, str | int]) -> dict[str, str | int]:
    return {k: v for k, v in settings.items() if k in render.USES[kind]}


def documents(text: str) -> list[dict[str, Any]]:
    assert "@{" not in text.replace(SWEEP.splitlines()[0], "")
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("settings", SIZES)
@pytest.mark.parametrize("sweep", ["", SWEEP])
def test_kuberay_files_fit_the_schema(settings: dict[str, str | int], sweep: str) -> None:
    found = documents(render.render("kuberay", settings, sweep_text=sweep))
    schema = json.loads((SCHEMAS / "kuberay.json").read_text())
    for document in found:
        jsonschema.validate(document, schema)
    kinds = [document["kind"] for document in found]
    assert kinds[0] == ("RayJob" if sweep else "RayCluster")
    assert ("PersistentVolumeClaim" in kinds) == ("://" not in str(settings.get("home", "")))
    assert "NetworkPolicy" in kinds


def test_kuberay_mounts_only_volumes_that_are_there_and_claims_that_are_made() -> None:
    for settings in SIZES:
        found = documents(render.render("kuberay", settings, sweep_text=SWEEP))
        made = {d["metadata"]["name"] for d in found}
        spec = found[0]["spec"]["rayClusterSpec"]
        for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
            pod = group["template"]["spec"]
            volumes = {volume["name"] for volume in pod["volumes"]}
            assert {m["name"] for m in pod["containers"][0]["volumeMounts"]} == volumes
            for volume in pod["volumes"]:
                for source, key in (("persistentVolumeClaim", "claimName"), ("configMap", "name")):
                    assert source not in volume or volume[source][key] in made


def test_kuberay_gives_the_gpus_that_were_asked_for() -> None:
    [cluster, *_] = documents(
        render.render("kuberay", {"gpus": 8, "gpus_per_node": 4, "cpu_workers": 3})
    )
    groups = cluster["spec"]["workerGroupSpecs"]
    limits = [g["template"]["spec"]["containers"][0]["resources"]["limits"] for g in groups]
    assert [(g["groupName"], g["maxReplicas"]) for g in groups] == [("gpu", 2), ("cpu", 3)]
    assert [limit.get("nvidia.com/gpu") for limit in limits] == [4, None]
    assert cluster["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_a_kuberay_job_carries_the_sweep_as_it_was_written() -> None:
    found = documents(render.render("kuberay", {"gpus": 1}, sweep_text=SWEEP))
    [text] = [d["data"]["sweep.yaml"] for d in found if d["kind"] == "ConfigMap"]
    assert text == SWEEP


@pytest.mark.parametrize("settings", SIZES)
@pytest.mark.parametrize("cloud", CLOUDS, ids=lambda c: c["cloud"])
def test_ray_up_files_pass_rays_own_validation(
    settings: dict[str, str | int], cloud: dict[str, str | int]
) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    [config] = documents(render.render("ray-up", {**only("ray-up", settings), **cloud}))
    validate_config(prepare_config(config))
    commands = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    starts = [c for c in commands if " ray start " in c]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token " in c for c in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]


@pytest.mark.parametrize("settings", SIZES)
def test_compose_files_fit_the_schema(settings: dict[str, str | int]) -> None:
    """Published ports are on 127.0.0.1, and the token is in no environment (both in the schema)."""
    [config] = documents(render.render("compose", only("compose", settings)))
    jsonschema.validate(config, json.loads((SCHEMAS / "compose.json").read_text()))
    wanted = {
        name for service in config["services"].values() for name in service.get("secrets", [])
    }
    assert wanted == set(config["secrets"])


@pytest.mark.parametrize("settings", SIZES)
def test_the_slurm_script_is_a_sound_shell_script(
    settings: dict[str, str | int], tmp_path: Path
) -> None:
    text = render.render(
        "slurm", {**only("slurm", settings), "sweep": "my sweeps/a.yaml".replace(" ", "-")}
    )
    path = tmp_path / "sweep.sbatch"
    path.write_text(text)
    subprocess.run(["bash", "-n", str(path)], check=True)
    directives = re.findall(r"^#SBATCH --([a-z-]+)=?(.*)$", text, re.MULTILINE)
    assert text.index("#SBATCH") < text.index("set -euo")
    assert dict(directives)["nodes"] == str(
        int(settings.get("cpu_workers", 2))
        if not settings.get("gpus")
        else int(settings["gpus"]) // int(settings.get("gpus_per_node", 8))
    )
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(path)], check=True)


def test_the_dockerfile_copies_only_what_the_repository_has() -> None:
    root = Path(render.__file__).parent.parent
    text = render.render("dockerfile", {})
    sources = [
        w for line in re.findall(r"^COPY (.*)$", text, re.MULTILINE) for w in line.split()[:-1]
    ]
    packages = {"s4core", "data_prep", "sweeps", "dashboards", "cluster"}
    assert packages < set(sources)
    assert not [name for name in packages if not (root / name).is_dir()]
    assert "USER ray" in text


@pytest.mark.parametrize("kind", render.KINDS)
def test_no_value_breaks_out_of_its_place(kind: str) -> None:
    """Each text setting of each kind is tried with what would end a quote, a line or a command."""
    evil = [
        'a"b',
        "a'b",
        "a\nb",
        "a$(id)b",
        "a`id`b",
        "a;id",
        "a b",
        "a#b",
        "a}b",
        "@{name}",
        "a\\b",
    ]
    texts = [n for n in render.USES[kind] if isinstance(render.SETTINGS[n].default, str)]
    assert texts
    for name in texts:
        for value in evil:
            with pytest.raises(UserError, match=f"--{name.replace('_', '-')} must match"):
                render.render(kind, {name: value})


@pytest.mark.parametrize("kind", render.KINDS)
def test_a_setting_without_a_meaning_is_refused(kind: str) -> None:
    other = next(name for name in render.SETTINGS if name not in render.USES[kind])
    with pytest.raises(UserError, match=f"{kind} has no use for --{other.replace('_', '-')}"):
        render.render(kind, {other: render.SETTINGS[other].default})


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (
            "kuberay",
            {"gpus": 6, "gpus_per_node": 4},
            "--gpus 6 cannot be had with --gpus-per-node 4",
        ),
        ("kuberay", {"gpus": "many"}, "--gpus wants a whole number from 0 to 999999, got 'many'"),
        ("compose", {"cpus": 0}, "--cpus must be at least 1"),
        ("slurm", {}, "slurm runs one sweep: add --sweep FILE"),
        ("ray-up", {}, "needs --head-ip and --worker-ips"),
        ("ray-up", {"cloud": "gcp"}, "needs --project"),
        ("ray-up", {**CLOUDS[0], "home": "s3://b", "nfs": "h:/x"}, "s3://b is no folder"),
    ],
)
def test_mistakes_are_explained(kind: str, settings: dict[str, str | int], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        render.render(kind, settings)


@pytest.mark.parametrize("kind", [k for k in render.KINDS if k not in ("slurm", "ray-up")])
def test_a_rendered_file_never_holds_the_token(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "s3cr3t-t0ken")
    assert main(["cluster", "render", kind]) == 0
    shown = capsys.readouterr().out
    assert shown
    assert "s3cr3t-t0ken" not in shown


def documented() -> list[str]:
    text = (Path(render.__file__).parent.parent / "docs" / "cluster.md").read_text()
    return re.findall(r"^s4sweep (cluster render .*)$", text, re.MULTILINE)


@pytest.mark.parametrize("line", documented())
def test_every_documented_render_command_writes_its_file(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.yaml").write_text("data: {name: listops}\nmodel: {name: s4d}\n")
    assert main(line.split()) == 0
    assert (tmp_path / line.split()[-1]).stat().st_size > 500


def test_only_a_sweep_that_can_be_read_becomes_a_kuberay_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "sweep.yaml"
    path.write_text("data: {name: listops}\nmodel: {name: s4e}\n")
    assert main(["cluster", "render", "kuberay", "--sweep", "sweep.yaml"]) == 2
    path.write_text("# the sweep\ndata: {name: listops}\nmodel: {name: s4d}\n")
    assert main(["cluster", "render", "kuberay", "--sweep", "sweep.yaml"]) == 0
    found = list(yaml.safe_load_all(capsys.readouterr().out))
    assert found[0]["kind"] == "RayJob"
    assert found[1]["data"]["sweep.yaml"] == path.read_text()
