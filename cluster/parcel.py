"""What travels to a cluster with a job: our packages, the sweep's files, and a few variables.

The packages are about 0.3 MB compressed and sent once per content. No secret is in it: a job's
description can be read by everybody who may look at the cluster.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from cluster import auth
from cluster.errors import UserError
from s4core import checkout

PACKAGES = ("s4core", "data_prep", "sweeps", "dashboards", "cluster")
PATCH_FILE = "checkout.patch"  # what the code differs in from its commit, in the working folder
MAX_CODE_BYTES = 20 * 2**20
_EXTRAS = {"ray": "[default,tune]"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parcel:
    """The luggage of one job.

    home, mlflow: as the nodes see them; None leaves the cluster's own. sweep: a YAML file, sent
    with the files that it includes. modules: folders of further packages (a lab's models). pip:
    install our pinned dependencies, for nodes whose image lacks them.
    """

    home: str | None = None
    mlflow: str | None = None
    sweep: Path | None = None
    modules: tuple[Path, ...] = ()
    pip: bool = False

    def sweep_name(self) -> str:
        """The path of the sweep's file in the job's working folder."""
        assert self.sweep is not None
        return self._files()[self.sweep.resolve()].as_posix()

    def runtime_env(self, folder: Path) -> dict[str, Any]:
        """Ray's description of it; `folder` is filled and becomes the working folder to send."""
        for module in self.modules:
            if not (module / "__init__.py").is_file():
                raise UserError(f"--module wants the folder of a package, and {module} is none.")
        for source, target in self._files().items():
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / target)
        if self._patch:
            (folder / PATCH_FILE).write_text(self._patch, encoding="utf-8")
        environment: dict[str, Any] = {
            "working_dir": str(folder),
            "py_modules": [str(path) for path in [*code_folders(), *self.modules]],
            "excludes": ["**/__pycache__", "**/*.pyc", "**/*.pyo"],
            "env_vars": self.variables(),
        }
        if self.pip:
            environment["pip"] = {"packages": pins(), "pip_check": False}
        return environment

    def variables(self) -> dict[str, str]:
        """Environment variables of the driver and its workers."""
        if self.mlflow:
            refuse_password(self.mlflow)
        wanted = {
            "S4SWEEP_HOME": self.home,
            "MLFLOW_TRACKING_URI": self.mlflow,
            checkout.COMMIT: checkout.git_commit(),
            checkout.PATCH: PATCH_FILE if self._patch else None,
        }
        # A job's own commands are for the cluster that it is in, whatever its nodes name.
        always = {"RAY_USAGE_STATS_ENABLED": "0", "S4SWEEP_ADDRESS": ""}
        return {**always, **{k: v for k, v in wanted.items() if v}}

    @functools.cached_property
    def _patch(self) -> str:
        return checkout.git_diff()

    def _files(self) -> dict[Path, Path]:
        """Each file to send, and its place, which keeps `include: ../base.yaml` true."""
        if self.sweep is None:
            return {}
        files = _with_includes(self.sweep)
        root = Path(os.path.commonpath([file.parent for file in files]))
        return {file: file.relative_to(root) for file in files}


def _with_includes(path: Path, before: tuple[Path, ...] = ()) -> list[Path]:
    """The file and all that it includes, each once; the sweep itself has been checked before."""
    from sweeps.yaml_tree import read_yaml

    path = path.resolve()
    found = [path]
    include = read_yaml(path).data.get("include", [])
    for name in [include] if isinstance(include, str) else include:
        target = (path.parent / name).resolve()
        if target not in (*before, *found):
            found += _with_includes(target, (*before, *found))
    return list(dict.fromkeys(found))


def refuse_password(uri: str) -> None:
    """Raise UserError for a URI with a password in it, which a job's description would show."""
    if auth.redact(uri) != uri:
        raise UserError(
            "a password in --mlflow would be readable in the job's description: set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD on the nodes."
        )


def code_folders() -> list[Path]:
    """The folders of our packages, as this process imports them.

    Raises UserError if they have grown beyond 20 MB: somebody's data lie in them.
    """
    root = Path(__file__).parent.parent
    folders = [root / name for name in PACKAGES]
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in files if path.suffix != ".pyc")
    if size > MAX_CODE_BYTES:
        raise UserError(f"the packages in {root} hold {size / 2**20:.0f} MB: is data among them?")
    return folders


def pins() -> list[str]:
    """Our dependencies in the versions that are installed here, as pip wants them."""
    lines = [line for line in metadata.requires("s4sweep") or [] if ";" not in line]
    names = [re.split(r"[<>=!~\[ ]", line, maxsplit=1)[0] for line in lines]
    return sorted(f"{n}{_EXTRAS.get(n, '')}=={metadata.version(n)}" for n in names)
