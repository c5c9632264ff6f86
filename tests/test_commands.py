"""Every command of the README and of docs/, run as a reader would run it, document by document.

Each document is read in a home of its own, `~/s4sweep` of a user made up for it, in which the
sweep `quickstart` has run (a small one: two trials over 64 rows). What stands in place of other
people's servers is real: a Ray cluster of two nodes, MLflow, an S3 server. A command that is new in
a document is run here too, so it has to work, or to be listed below with a reason.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sweeps
from tests.documented import DOCUMENTS, ROOT, Command, commands, name_of

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1800)]

# The tutorial's are run by test_tutorial.py; the benchmarks' take hours and are started by hand.
READ = [
    path
    for path in DOCUMENTS
    if commands(path) and name_of(path) not in ("docs/tutorial.md", "benchmarks/README.md")
]
SWEEP = """\
name: {name}
data: {{name: listops, train: 64, val: 32, test: 32, min_length: 3, max_length: 16, l_max: 16}}
model: {{name: s4d, d_model: 8, n_layers: {{choice: [1, 2]}}}}
train: {{epochs: 1, batch_size: 16, lr: {{log_uniform: [0.001, 0.1]}}}}
search: {{sampler: random, trials: 2}}
resources: {{cpus: 1, concurrent: 1}}
"""
TUNES = """\
name: tunes
data: {name: youtubemix, length: 200}
model: {name: sashimi, d_model: 8, n_layers: 1, d_state: 4, pool: [2]}
train: {epochs: 1, batch_size: 16}
search: {sampler: random, trials: 1}
"""
FEW = "data.train=64 data.val=32 data.test=32 data.min_length=3 data.max_length=32 data.l_max=32"

# What a reader puts in the place of the examples' names and numbers.
INSTEAD = {
    r"\bNAME\b": "quickstart",
    r"--trial 7\b": "--trial 1",
    r"--epochs \+5\b": "--epochs +1",
    r"--trials \+20\b": "--trials +1",
    r"--samples 8\b": "--samples 2",
    r"--prefix 8000 --length 16000\b": "--prefix 50 --length 100",
}
# Run in another way, and why.
OTHERWISE = {
    "make sweep": ("make --dry-run sweep", "it trains for five minutes; CI's own first step"),
    "make test": ("make --dry-run test", "it is what runs this"),
    "ssh -N -L 8265:127.0.0.1:8265 head": ("ssh -V", "there is no other machine"),
    "ssh -N -L 8265:127.0.0.1:8265 head &": ("ssh -V", "there is no other machine"),
    "s4sweep train preset=lra/listops/s4d-legs train.epochs=2": (
        "s4sweep train preset=lra/listops/s4d-legs train.epochs=2 model.d_model=8 "
        f"model.n_layers=1 {FEW}",
        "on all 96,000 rows it takes a GPU",
    ),
    "s4sweep resume my-sweep --address http://127.0.0.1:8265 --detach": (
        "s4sweep resume my-sweep --address http://127.0.0.1:8265",
        "the lines below it are other things to do, and want it to be over",
    ),
}
# What stands before a program in Python.
BEFORE = {
    "MyMixer": "from s4core.nn.lru import LRU as MyMixer",
    "models:/digits/1": "import numpy\nx = numpy.ones((3, 16), dtype=int)",
}
# Not run, only compiled, and why.
COMPILED = {"checkpoint.ckpt": "it wants somebody's checkpoint; test_convert.py loads such"}
IS_SERVER = re.compile(r"s4sweep (dashboard|metrics)\b(?!.*--(stop|detach))")
BEGINS = re.compile(r"s4sweep (run|submit) examples/quickstart.yaml")


@dataclasses.dataclass
class Reader:
    """Somebody with a shell: a folder to work in, and what the shell exports."""

    folder: Path
    env: dict[str, str]
    instead: dict[str, str] = dataclasses.field(default_factory=lambda: dict(INSTEAD))

    def does(self, command: Command, exported: dict[str, str]) -> str:
        """Do what a document says, which must succeed; returns what it printed."""
        text, _ = OTHERWISE.get(command.text, (command.text, ""))
        for pattern, word in self.instead.items():
            text = re.sub(pattern, word, text)
        if command.is_python:
            return self.computes(text)
        if text.startswith("export "):
            name, _, value = text.removeprefix("export ").partition("=")
            exported[name] = value
            return ""
        if BEGINS.match(text):
            shutil.rmtree(self.folder / "s4sweep/sweeps/quickstart", ignore_errors=True)
        if IS_SERVER.match(text):
            return self.visits(text, {**self.env, **exported})
        status = 2 if text == "s4sweep check broken.yaml" else 0
        return self.runs(["bash", "-o", "pipefail", "-c", text], exported, status=status)

    def runs(self, words: list[str], exported: Mapping[str, str], *, status: int = 0) -> str:
        """Run a program to its end."""
        done = subprocess.run(
            words,
            cwd=self.folder,
            env={**self.env, **exported},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=900,
        )
        assert done.returncode == status, f"{words[-1]}\n{done.stdout[-3000:]}"
        return done.stdout

    def computes(self, text: str) -> str:
        """Run a program in Python."""
        before = "\n".join(code for word, code in BEFORE.items() if word in text)
        code = compile(f"{before}\n{text}", "document.py", "exec")
        assert code.co_code
        if any(word in text for word in COMPILED):
            return ""
        (self.folder / "document.py").write_text(f"{before}\n{text}")
        return self.runs([sys.executable, "document.py"], {})

    def visits(self, text: str, env: Mapping[str, str]) -> str:
        """Start a server, open the address that it prints, and end it with Ctrl-C."""
        with subprocess.Popen(
            ["bash", "-c", f"exec {text}"],
            cwd=self.folder,
            env=dict(env),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            url = said.split("#")[0].strip()
            assert url.startswith("http://"), said + process.stdout.read()
            if "0.0.0.0" not in text:  # which asks for a login
                urllib.request.urlopen(url, timeout=60).close()
            process.send_signal(signal.SIGINT)
            said += process.stdout.read()
        assert process.returncode == 0, said
        return said


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What every reader's shell exports."""
    dropped = ("S4SWEEP_", "MLFLOW_TRACKING", "RAY_ADDRESS", "RAY_AUTH", "AWS_", "XDG_")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    opened = tmp_path_factory.mktemp("browser") / "open"
    opened.write_text('#!/bin/sh\ntest -n "$1"\n')
    opened.chmod(0o755)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "BROWSER": str(opened)}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory, shell: dict[str, str]) -> Path:
    """A user's folder with the sweep `quickstart` run in it; copied for each document."""
    folder = tmp_path_factory.mktemp("kept")
    _write_files(folder)
    env = {**shell, "HOME": str(folder)}
    run = ["s4sweep", "run", "examples/quickstart.yaml"]
    subprocess.run(run, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
    return folder


def _write_files(folder: Path) -> None:
    for name in ("examples", "scripts"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    broken = (folder / "examples" / "quickstart.yaml").read_text()
    for right, wrong in (
        ("patience: 3", "patiense: 3"),
        ("weight_decay: 0.05", "weight_decay: 1e-4"),
        ("name: s4d,", "name: s5d,"),
    ):
        broken = broken.replace(right, wrong)
    (folder / "broken.yaml").write_text(broken)
    (folder / "examples" / "quickstart.yaml").write_text(SWEEP.format(name="quickstart"))
    (folder / "sweep.yaml").write_text(SWEEP.format(name="my-sweep"))
    mine = SWEEP.format(name="mine").replace("{name: s4d,", "{name: my_lab.foo,")
    (folder / "mine.yaml").write_text(mine)
    (folder / "my_lab").mkdir()
    (folder / "my_lab" / "__init__.py").touch()
    model = "from s4core.models.s4d import Config, build\n"
    (folder / "my_lab" / "foo.py").write_text(model)


@pytest.fixture
def reader(tmp_path: Path, kept: Path, shell: dict[str, str]) -> Reader:
    folder = tmp_path / "user"
    shutil.copytree(kept, folder)
    return Reader(folder, {**shell, "HOME": str(folder)})


@pytest.fixture
def cluster(reader: Reader) -> Iterator[None]:
    """A cluster of two nodes, under the address that documents give to theirs."""
    reader.runs(["s4sweep", "cluster", "up", "--local", "2", "--cpus", "1"], {})
    address = reader.runs(["s4sweep", "cluster", "status"], {}).split(": ")[0]
    reader.instead[r"https?://(head|127\.0\.0\.1):8265"] = address
    yield
    reader.runs(["s4sweep", "cluster", "down"], {})


@pytest.fixture
def mlflow(reader: Reader) -> Iterator[None]:
    """An MLflow server, under the address that documents give to theirs."""
    from dashboards import server

    lab = reader.folder / "lab"
    lab.mkdir()
    running = server.start(lab)
    reader.instead[r"http://mlflow\.lab:5000"] = running.url
    yield
    running.stop()


@pytest.fixture
def dashboard(reader: Reader) -> Iterator[None]:
    """The reader's own MLflow, under the address that it has by default."""
    said = reader.runs(["s4sweep", "dashboard", "--detach"], {})
    reader.instead[r"http://127\.0\.0\.1:5000"] = said.split("/#")[0]
    yield
    reader.runs(["s4sweep", "dashboard", "--stop"], {})


@pytest.fixture
def store(reader: Reader, s3_server: str) -> None:
    """An object store with the bucket of the documents."""
    request = urllib.request.Request(f"{s3_server}/my-bucket", method="PUT")
    urllib.request.urlopen(request).close()
    reader.instead[r"https://minio\.lab"] = s3_server
    keys = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "secret"}
    reader.env.update({**keys, "AWS_DEFAULT_REGION": "us-east-1"})


@pytest.fixture
def tunes(reader: Reader) -> None:
    """A sweep of a model of sound, over twenty short ones."""
    home = reader.folder / "s4sweep"
    raw = home / "raw" / "youtubemix"
    raw.mkdir(parents=True)
    for number in range(20):
        wave = 0.5 * np.sin(0.1 * (1 + number % 5) * np.arange(600))
        soundfile.write(raw / f"out{number}.wav", wave, 16_000, subtype="PCM_16")
    path = reader.folder / "tunes.yaml"
    path.write_text(TUNES)
    sweeps.run_inline(sweeps.load_spec(path), home)


WANTS = {
    " tunes ": "tunes",
    ":8265": "cluster",
    "mlflow.lab:5000": "mlflow",
    "127.0.0.1:5000": "dashboard",
    "s3://": "store",
}


@pytest.mark.parametrize("document", READ, ids=name_of)
def test_what_a_document_says_works(
    document: Path, reader: Reader, request: pytest.FixtureRequest
) -> None:
    exported: dict[str, str] = {}
    block = -1
    for command in commands(document):
        if command.block != block:
            exported, block = {}, command.block
        for words, fixture in WANTS.items():
            if words in command.text:
                request.getfixturevalue(fixture)
        began = time.monotonic()
        said = reader.does(command, exported)
        print(f"{time.monotonic() - began:6.1f} s  {command.text.splitlines()[0]}")
        if command.text == "s4sweep check broken.yaml":
            for line in command.output:
                parts = map(re.escape, line.split("..."))
                assert re.search("^" + ".*".join(parts) + "$", said, re.MULTILINE), said


@pytest.mark.parametrize("text", [*OTHERWISE, *COMPILED])
def test_the_exceptions_are_still_in_a_document(text: str) -> None:
    assert any(text in path.read_text() for path in READ)
