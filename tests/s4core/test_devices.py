"""What a GPU would refuse, found without one: see other_device.py."""

import json
import subprocess
import sys

import pytest

import s4core


@pytest.fixture(scope="module")
def complaints():
    command = [sys.executable, "-m", "tests.s4core.other_device"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", s4core.model_names())
def test_a_model_leaves_nothing_on_the_cpu_and_looks_at_no_value(name, complaints):
    assert complaints[name] == []


def test_a_tensor_that_is_left_on_the_cpu_is_found(complaints):
    assert "two devices" in complaints["left behind"][0]
