"""The tutorial's commands, run as they stand, one after the other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.ray
@pytest.mark.slow
def test_the_tutorial_works_from_its_first_command_to_its_last(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    text = (ROOT / "docs/tutorial.md").read_text()
    script = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))
    (python,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (tmp_path / "notebook.py").write_text(f"{python}\nassert len(sweep.trials()) == 3\n")
    first, going_on = script.split("s4sweep extend")
    script = f"set -ex\n{first}\npython notebook.py\ns4sweep extend{going_on}"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "S4SWEEP_HOME": str(tmp_path / "home"),
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "waves" in (tmp_path / "best.yaml").read_text()
    assert (tmp_path / "waves-model").is_dir()
