"""TrainConfig refuses what cannot be, in words that name the setting."""

from __future__ import annotations

import os

import pytest
import torch

from s4core.config import ConfigError, from_mapping, to_mapping
from s4core.train.backend import drop_half_written, on_backend
from s4core.train.config import TrainConfig


def test_it_round_trips_as_plain_data():
    train = TrainConfig(epochs=3, patience=2, metrics=("f1",), betas=(0.9, 0.98))
    assert from_mapping(TrainConfig, to_mapping(train)) == train


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "train: need epochs >= 1, got 0."),
        ({"lr": 0.0}, "train: need lr > 0, got 0.0."),
        ({"ssm_lr": -1.0}, "train: need ssm_lr >= 0 (or null), got -1.0."),
        ({"patience": 0}, "train: need patience >= 1 (or null), got 0."),
        ({"label_smoothing": 1.0}, "train: need label_smoothing in [0, 1), got 1.0."),
        ({"warmup": 5.0, "epochs": 5}, "train: need warmup < epochs, got 5.0 and 5."),
        ({"lr_min": 0.1, "lr": 0.01}, "train: need lr_min <= lr = 0.01, got 0.1."),
        ({"metrics": ["auc"]}, "train: need metrics of"),
        ({"schedule": "cosin"}, "train.schedule: no choice 'cosin'"),
        ({"lr": "1e-3"}, "train.lr: wants a number, got '1e-3', which YAML reads as text"),
        ({"batchsize": 3}, "Did you mean 'batch_size'?"),
    ],
)
def test_what_cannot_be_is_refused(settings, message):
    with pytest.raises(ConfigError) as error:
        from_mapping(TrainConfig, settings, path="train")
    assert message in str(error.value)


def test_the_rates_of_the_state_space_follow_lr_unless_told():
    assert (TrainConfig(lr=0.01).ssm_rate, TrainConfig(lr=0.0005).ssm_rate) == (0.001, 0.0005)
    assert TrainConfig(ssm_lr=0.0).ssm_rate == 0.0


def test_graphs_are_refused_where_there_is_no_gpu():
    with pytest.raises(ConfigError, match=r"train.backend: graphs needs a GPU, got cpu"):
        on_backend(torch.nn.Linear(1, 1), "graphs", torch.device("cpu"))


def test_libraries_that_a_killed_compiler_left_are_dropped(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    (tmp_path / "ab").mkdir()
    left, fresh, whole = (tmp_path / "ab" / f"{name}.so" for name in ("left", "fresh", "whole"))
    for library, content in ((left, b""), (fresh, b""), (whole, b"\x7fELF and so on")):
        library.write_bytes(content)
        if library is not fresh:
            os.utime(library, (0, 0))
    drop_half_written()
    assert sorted(path.name for path in (tmp_path / "ab").iterdir()) == ["fresh.so", "whole.so"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_trial_before_does_not_use_up_what_may_be_compiled():
    with torch._dynamo.config.patch(recompile_limit=1, fail_on_recompile_limit_hit=True):
        for width in (1, 2, 3):
            run = on_backend(torch.nn.Linear(width, 1), "compiled", torch.device("cpu"))
            assert run(torch.zeros(2, width)).shape == (2, 1)
