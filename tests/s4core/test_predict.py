"""A kept model as a function of arrays: in parts, whatever the task."""

import numpy as np
import pytest
import torch

import s4core
from s4core import TaskShape, TrainConfig
from s4core.predict import Predictor
from s4core.train.checkpoint import BEST, write

MODEL = {"name": "s5", "d_model": 8, "n_layers": 1, "d_state": 8, "blocks": 1, "norm": "layer"}


def keep(folder, shape):
    """A model in a training folder, as `fit` leaves it."""
    torch.manual_seed(0)
    model = s4core.build(MODEL, shape).eval()
    made_by = {
        "model": MODEL,
        "shape": s4core.to_mapping(shape),
        "train": s4core.to_mapping(TrainConfig()),
        "seed": 0,
    }
    write(folder / BEST, {"made_by": made_by, "epoch": 1, "model": model.state_dict()})
    return model


def test_parts_keep_both_documents_of_a_pair_together(tmp_path):
    model = keep(tmp_path, TaskShape(d_input=5, d_output=2, length=9, tokens=True, pairs=True))
    x = np.random.default_rng(0).integers(0, 5, (14, 9))
    expected = model(torch.from_numpy(x)).detach().numpy()
    for batch_size in (100, 3):
        found = Predictor(tmp_path, device="cpu", batch_size=batch_size)(x)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(ValueError, match="even number of rows, got 3"):
        Predictor(tmp_path, device="cpu", batch_size=1)(x[:3])


def test_irregular_steps_come_with_their_times(tmp_path):
    shape = TaskShape(d_input=1, d_output=2, length=9, irregular=True, target="step_value")
    model = keep(tmp_path, shape)
    rng = np.random.default_rng(0)
    x, dt = rng.normal(size=(5, 9, 1)).astype(np.float32), rng.uniform(0.5, 2.0, (5, 9))
    expected = model(torch.from_numpy(x), dt=torch.from_numpy(dt).float()).detach().numpy()
    found = Predictor(tmp_path, device="cpu", batch_size=2)(x, dt=dt)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert Predictor(tmp_path, device="cpu").needs_dt
    with pytest.raises(ValueError, match="pass dt"):
        Predictor(tmp_path, device="cpu")(x)


def test_numbers_are_not_taken_for_tokens(tmp_path):
    keep(tmp_path, TaskShape(d_input=5, d_output=2, length=9, tokens=True))
    predict = Predictor(tmp_path, device="cpu")
    assert predict(np.ones((3, 9), np.uint8)).shape == (3, 2)
    with pytest.raises(ValueError, match="want x of .* tokens, got .* of torch.float64"):
        predict(np.full((3, 9), 0.5))


def test_lists_are_as_good_as_arrays(tmp_path):
    shape = TaskShape(d_input=5, d_output=2, length=9, tokens=True, ragged=True)
    keep(tmp_path, shape)
    predict, x, lengths = Predictor(tmp_path, device="cpu"), [[1, 2, 3], [4, 0, 0]], [3, 1]
    found = predict(x, lengths=lengths)
    np.testing.assert_array_equal(found, predict(np.array(x), lengths=np.array(lengths)))


def test_a_device_without_numbers_is_none(tmp_path):
    keep(tmp_path, TaskShape(d_input=5, d_output=2, length=9, tokens=True))
    with pytest.raises(ValueError, match="no device 'meta' here"):
        Predictor(tmp_path, device="meta")
