"""The public names, and what importing them costs."""

import subprocess
import sys

import s4core


def test_every_public_name_is_there():
    for name in s4core.__all__:
        assert getattr(s4core, name) is not None


def test_the_package_and_its_types_come_without_torch():
    code = "import s4core, s4core.train.report, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_models_need_torch_and_numpy_alone():
    heavy = (
        "{'pyarrow', 'optuna', 'pydantic', 'mlflow', 'plotly', 'ray', 'torchaudio', 'jaxtyping'}"
    )
    code = (
        f"import s4core, sys; s4core.model_names(); s4core.fit; print({heavy} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() in ("set()", "{'jaxtyping'}")
