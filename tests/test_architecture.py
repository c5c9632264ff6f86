"""The two rules that explain the tree: arrows point left, and one heavy library has one owner."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# package: the packages of ours that it may import
ARROWS = {
    "s4core": set(),
    "data_prep": set(),
    "sweeps": {"s4core", "data_prep"},
    "dashboards": {"s4core", "data_prep", "sweeps"},
    "cluster": {"s4core", "data_prep", "sweeps", "dashboards"},
}
OWNERS = {
    "torch": "s4core",
    "pyarrow": "data_prep",
    "torchaudio": "data_prep",
    "soundfile": "data_prep",
    "optuna": "sweeps",
    "pydantic": "sweeps",
    "mlflow": "dashboards",
    "plotly": "dashboards",
    "ray": "cluster",
}
# The one module that may import a library that its package does not own.
EXCEPTIONS = {("data_prep/audio.py", "torch")}
MAX_LINES, MAX_FUNCTION, MAX_ARGUMENTS = 300, 60, 8


def _modules() -> Iterator[Path]:
    for package in ARROWS:
        yield from (ROOT / package).rglob("*.py")


def _imports(tree: ast.Module) -> Iterator[str]:
    """The top names of all imports, those inside functions too; TYPE_CHECKING ones do not count."""
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for statement in block.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", ARROWS)
def test_arrows_point_left_and_a_heavy_library_has_one_owner(package: str) -> None:
    faults = []
    for path in (ROOT / package).rglob("*.py"):
        here = path.relative_to(ROOT).as_posix()
        for name in set(_imports(ast.parse(path.read_text()))):
            if name in ARROWS and name not in ARROWS[package] | {package}:
                faults.append(f"{here} imports {name}")
            if OWNERS.get(name, package) != package and (here, name) not in EXCEPTIONS:
                faults.append(f"{here} imports {name}, which {OWNERS[name]} owns")
    assert not faults, "\n".join(sorted(faults))


def test_no_file_or_function_hides_a_missing_idea() -> None:
    """Files of 300 lines, functions of 60, and 8 arguments that must be given are the limits."""
    faults = []
    for path in _modules():
        here = path.relative_to(ROOT).as_posix()
        text = path.read_text()
        if len(text.splitlines()) > MAX_LINES:
            faults.append(f"{here} has {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = (node.end_lineno or 0) - node.lineno + 1
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            defaults = [*node.args.defaults, *(d for d in node.args.kw_defaults if d)]
            count = sum(a.arg not in ("self", "cls") for a in arguments) - len(defaults)
            if lines > MAX_FUNCTION:
                faults.append(f"{here}: {node.name} has {lines} lines")
            if count > MAX_ARGUMENTS:
                faults.append(f"{here}: {node.name} wants {count} arguments")
    assert not faults, "\n".join(sorted(faults))


def test_no_handler_swallows_what_it_does_not_understand() -> None:
    """No bare `except:` and no `except Exception: pass`."""
    faults = []
    for path in _modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ExceptHandler):
                continue
            broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            if node.type is None or (broad and isinstance(node.body[0], ast.Pass)):
                faults.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("package", ["s4core", "data_prep"])
def test_importing_a_leaf_package_pulls_no_library_of_another(package: str) -> None:
    heavy = sorted(name for name, owner in OWNERS.items() if owner not in (package, "data_prep"))
    code = f"import {package}, sys; print([m for m in {heavy} if m in sys.modules])"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert found.strip() == "[]"


def test_text_is_ascii() -> None:
    """Plain ASCII in code and documents, so that every terminal and font shows it."""
    faults = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in (*ARROWS, "tests", "docs", "examples", "benchmarks")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md", ".yaml", ".toml")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if not line.isascii()
    ]
    assert not faults, "\n".join(faults)
