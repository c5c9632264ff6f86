"""A document that cannot break is not trusted: links, the README's tree, the examples, commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documented import DOCUMENTS, ROOT, commands, mentioned, name_of

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    missing = [t for t in targets if "://" not in t and not (path.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_files_that_a_document_names_exist(path: Path) -> None:
    """Every `code span` that looks like a file of this repository is one."""
    names = re.findall(
        r"`((?:s4core|data_prep|sweeps|dashboards|cluster|docs|examples|benchmarks|scripts|tests)"
        r"/[\w./-]*\w)`",
        path.read_text(),
    )
    assert not [n for n in names if "NAME" not in n and not (ROOT / n).exists()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_tests_that_a_document_names_exist(path: Path) -> None:
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", path.read_text()):
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file} has no {name}"


def test_the_readme_shows_every_top_level_entry() -> None:
    tree = re.search(r"```text\n(s4core.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tree, "README.md has no tree that begins with s4core"
    listed = {line.split()[0].rstrip("/") for line in tree[1].splitlines() if line[:1].strip()}
    command = ["git", "ls-files"]
    tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    entries = {name.split("/")[0] for name in tracked.splitlines() if not name.startswith(".")}
    assert listed == entries


def test_the_readme_shows_the_quickstart_as_it_is() -> None:
    assert (ROOT / "examples/quickstart.yaml").read_text() in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.name)
def test_every_example_passes_the_check(path: Path) -> None:
    command = [sys.executable, "-m", "cluster.cli", "check", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _commands() -> list[tuple[str, str]]:
    """Each `s4sweep` command, in blocks and in the text, with the document it stands in."""
    found = []
    for path in DOCUMENTS:
        shown = [re.split(r" \| | > ", c.text)[0] for c in commands(path) if not c.is_python]
        shown = [text for text in shown if text.startswith("s4sweep ")]
        found += [(name_of(path), text) for text in dict.fromkeys(shown + mentioned(path))]
    return found


@pytest.mark.parametrize(("document", "command"), _commands())
def test_every_command_line_in_a_document_parses(document: str, command: str) -> None:
    """The verb and its options exist and the arguments are legal; test_commands.py runs them."""
    from cluster.cli import parser, verbs

    words = ["1" if word == "N" else word for word in shlex.split(command)[1:]]
    if len(words) == 1:  # a verb that the text speaks of
        assert words[0] in verbs()
        return
    parser(verb=words[0]).parse_args(words)
