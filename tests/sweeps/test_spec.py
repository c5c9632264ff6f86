"""A spec round-trips, and every mistake is one line: file, line, path, the nearest choice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import sweeps
from sweeps.merging import read_tree

Load = Callable[..., sweeps.SweepSpec]

GOOD = """
name: good
objective: {metric: val/accuracy, mode: max}
data: {name: listops, train: 8}
model:
  n_layers: {choice: [2, 3]}
  choice:
    - {name: s4d, init: {choice: [lin, inv]}}
    - {name: s4d, d_state: {int: [2, 8], step: 2}}
train:
  epochs: 3
  lr: {log_uniform: [0.001, 0.1]}
search: {sampler: tpe, pruner: asha, trials: 8}
resources: {cpus: 1}
"""


def test_a_spec_round_trips_through_json(load: Load) -> None:
    spec = load(GOOD)
    assert sweeps.SweepSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert spec.search.sampler == {"name": "tpe"}
    assert spec.text.strip() == GOOD.strip()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("trials: 8", "trails: 8", "13: search.trails: unknown key 'trails': choose from "
         "gpu_hours, max_failures, no_improvement, pruner, sampler, seed, trials, wall_hours. "
         "Did you mean 'trials'?"),
        ("epochs: 3", "epochs: three", "11: train.epochs: wants a whole number, got 'three'."),
        ("epochs: 3", "epochs: 0", "11: train.epochs: need epochs >= 1, got 0."),
        ("[0.001, 0.1]", "[1e-4, 0.1]", "12: train.lr.log_uniform.0: wants a number, got '1e-4', "
         "which YAML reads as text; write 0.0001."),
        ("epochs: 3", "weight_decay: 1e-4", "11: train.weight_decay: wants a number, got '1e-4', "
         "which YAML reads as text; write 0.0001."),
        ("epochs: 3", f"weight_decay: 1{'0' * 400}", "11: train.weight_decay: wants a finite "
         "number, got 1000"),
        ("epochs: 3", "epoch: 3", "Did you mean 'epochs'?"),
        ("[0.001, 0.1]", "[0.1, 0.001]", "12: train.lr.log_uniform: an empty range: 0.1 > 0.001."),
        ("[lin, inv]", "[lin, invv]", "8: model.init: no choice 'invv'"),
        ("name: listops", "name: listop", "4: data.name: no data set 'listop'"),
        ("train: 8", "trian: 8", "4: data.trian: listops has no option 'trian'"),
        ("step: 2", "step: 1", "9: model.d_state: need an even d_state"),
        ("sampler: tpe", "sampler: tpee", "13: search.sampler: no sampler 'tpee'"),
        ("sampler: tpe", "sampler: {name: tpe, start: 1}", "13: search.sampler.start: unknown key"),
        ("mode: max", "mode: maximum", "3: objective.mode: no choice 'maximum': choose from max, "
         "min. Did you mean 'max'?"),
        ("val/accuracy", "val/loss", "3: objective.metric: val/loss is better when smaller; write "
         "mode: min."),
        ("val/accuracy", "val/perplexity", "val/perplexity is better when smaller"),
        ("val/accuracy", "val/acc", "3: objective.metric: no metric 'val/acc': choose from "),
        ("val/accuracy", "val/acuracy", "Did you mean 'val/accuracy'?"),
        ("val/accuracy", "val/f1", "3: objective.metric: val/f1 wants `metrics: [f1]` in train."),
        ("val/accuracy", "test/accuracy", "3: objective.metric: 'test/accuracy' is not of the "
         "validation split: wants val/..."),
        ("name: good", "name: ../up", "2: name: '../up' cannot name a sweep: letters, digits, '.', "
         "'_' and '-', beginning with a letter or digit."),
        ("name: good", "name: 12", '2: name: wants text, got 12: write "12".'),
        ("cpus: 1", "cpus: 1.5", "14: resources.cpus: need cpus between 0 and 1, or a whole "
         "number, got 1.5."),
        ("cpus: 1", "cpus: 1, fuse: 4, pack: true", "14: resources.fuse: fuse wants workers: 1, "
         "at most one GPU and no pack."),
        ("cpus: 1", "custom: {tpu: two}", "14: resources.custom: need custom to be a block of "
         "names and amounts > 0, got {'tpu': 'two'}."),
        ("cpus: 1", "cpus: {choice: [1, 2]}", "14: resources.cpus: a range; only data, model and "
         "train are searched."),
        ("name: good", "naem: good", "2: naem: unknown key 'naem'"),
        ("  n_layers", "\tn_layers", "6: a tab; YAML wants spaces for indentation."),
        ("epochs: 3", "lr: 3", "12: train.lr: key given twice, first in line 11."),
        ("resources", "where: [model.d_modl > 1]\nresources", "14: where.0: no value "
         "'model.d_modl'"),
        ("resources", "where: [train.lr > 1]\nresources", "14: where: no point that was tried "
         "makes every expression true."),
        ("name: listops", "name: my_lab.data", "4: data.name: 'my_lab.data' is code outside this "
         "package; allow it with --allow-imports."),
        ("name: listops", "name: .data", "4: data.name: '.data' names no module: wants a name "
         "such as my_lab.foo."),
    ],
)  # fmt: skip
def test_a_mistake_is_said_in_one_line(
    load: Load, tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in GOOD
    with pytest.raises(sweeps.SpecError) as caught:
        load(GOOD.replace(old, new, 1))
    line = str(caught.value)
    assert line.startswith(f"{tmp_path}/sweep.yaml:")
    assert said in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        ("data: {choice: [smnist, listops]}", "1: data: wants a block of keys and values, got "
         "'smnist'; write {name: smnist}."),
        ("data: {choice: [{name: smnist}, 3]}", "data: wants a block of keys and values, got 3."),
        ("data: {expr: '1 + 1'}", "1: data: wants a block of keys and values, got 2."),
    ],
)  # fmt: skip
def test_a_choice_of_names_is_no_choice_of_blocks(load: Load, blocks: str, said: str) -> None:
    with pytest.raises(sweeps.SpecError) as caught:
        load(f"{blocks}\nmodel: {{name: s4d}}\n")
    assert str(caught.value).endswith(said)


def test_fusing_what_cannot_be_fused_is_refused(load: Load) -> None:
    text = GOOD.replace("cpus: 1", "fuse: 4").replace("epochs: 3", "epochs: 3\n  ema: EMA")
    assert load(text.replace("EMA", "{choice: [0.0, 0.9]}")).resources.fuse == 4, "some can"
    said = "15: resources.fuse: has no effect: only AdamW without accumulation and averaging is "
    with pytest.raises(sweeps.SpecError, match=said + r"fused. Leave it out\.$"):
        load(text.replace("EMA", "0.9"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(sweeps.SpecError, match=r"nowhere.yaml: no such file\.$"):
        sweeps.load_spec(tmp_path / "nowhere.yaml")


def test_an_included_file_gives_what_is_not_said(load: Load, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(GOOD.replace("name: good\n", "", 1))
    spec = load("""
        include: base.yaml
        name: child
        train: {epochs: 7}
        model: {name: s4d, n_layers: 1}
        search: {sampler: random}
        """)
    assert spec.name == "child"
    assert spec.train == {"epochs": 7, "lr": {"log_uniform": [0.001, 0.1]}}
    assert spec.model == {"name": "s4d", "n_layers": 1}  # a range is replaced, not merged
    assert (spec.search.sampler, spec.search.trials) == ({"name": "random"}, 8)


def test_a_mistake_in_an_included_file_is_blamed_on_it(load: Load, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(GOOD.replace("epochs: 3", "epochz: 3"))
    with pytest.raises(sweeps.SpecError, match=r"base.yaml:11: train.epochz: unknown key"):
        load("include: base.yaml\nname: child\n")
    (tmp_path / "base.yaml").write_text("include: sweep.yaml\n")
    with pytest.raises(sweeps.SpecError, match=r"base.yaml:1: include: sweep.yaml includes itself"):
        load("include: base.yaml\nname: child\n")


def test_an_environment_variable_is_read_only_where_it_is_named(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_EPOCHS", "5")
    text = GOOD.replace("epochs: 3", "epochs: {env: MY_EPOCHS}")
    assert load(text).train["epochs"] == 5
    monkeypatch.delenv("MY_EPOCHS")
    with pytest.raises(sweeps.SpecError, match="11: train.epochs: the environment variable MY_EPO"):
        load(text)
    assert load(text.replace("MY_EPOCHS", "MY_EPOCHS, default: 2")).train["epochs"] == 2
    with pytest.raises(sweeps.SpecError, match="11: train.epochs: env wants the name of a vari"):
        load(text.replace("MY_EPOCHS", "[MY_EPOCHS]"))
    monkeypatch.setenv("MY_EPOCHS", "[")
    with pytest.raises(sweeps.SpecError, match=r"^\$MY_EPOCHS:1: not YAML"):
        load(text)
    secret = load(text.replace("{env: MY_EPOCHS}", "1") + "storage: {env: MY_URL}\n")
    assert secret.storage == "env:MY_URL"  # the URL itself, with its password, is not kept


def test_raw_files_are_looked_for_beside_the_yaml_that_names_them(
    load: Load, tmp_path: Path
) -> None:
    text = GOOD.replace("train: 8}", "train: 8, raw: mine}")
    assert load(text).data["raw"] == str(tmp_path / "mine")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "base.yaml").write_text(text)
    assert load("include: below/base.yaml\nname: x\n").data["raw"] == str(tmp_path / "below/mine")


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ("~/mine", "{home}/mine"),
        ("{env: MY_RAW}", "{folder}/csvs"),
        ("{env: NO_RAW, default: ~/mine}", "{home}/mine"),
        ("{choice: [csvs, ./other, ~/mine, {env: MY_RAW}]}",
         ["{folder}/csvs", "{folder}/other", "{home}/mine", "{folder}/csvs"]),
        ("s3://bucket/csvs", "s3://bucket/csvs"),
    ],
)  # fmt: skip
def test_raw_files_are_where_the_yaml_says_whatever_folder_a_worker_runs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: str, found: str | list[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MY_RAW", "./csvs")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "base.yaml").write_text(f"data: {{name: smnist, raw: {raw}}}\n")
    (tmp_path / "sweep.yaml").write_text("include: below/base.yaml\n")
    said = read_tree(tmp_path / "sweep.yaml").data["data"]["raw"]
    told = [said] if isinstance(said, str) else said["choice"]
    places = {"home": tmp_path / "home", "folder": tmp_path / "below"}
    assert told == [f.format(**places) for f in ([found] if isinstance(found, str) else found)]


@pytest.mark.parametrize("include", ["3", "{a: b}", ""])
def test_what_cannot_be_included_is_one_line(load: Load, include: str) -> None:
    said = r"1: include: wants the path of a file, or a list of them, got [^\n]*$"
    with pytest.raises(sweeps.SpecError, match=said):
        load(f"include: {include}\nname: x\n")
