"""A document that cannot break is not trusted: links, the README's tree, the examples, commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("benchmarks/*.md")]
)
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    missing = [t for t in targets if "://" not in t and not (path.parent / t).exists()]
    assert not missing


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_that_a_document_names_exist(path: Path) -> None:
    """Every `code span` that looks like a file of this repository is one."""
    names = re.findall(
        r"`((?:s4core|data_prep|sweeps|dashboards|cluster|docs|examples|benchmarks|scripts|tests)"
        r"/[\w./-]*\w)`",
        path.read_text(),
    )
    assert not [n for n in names if "NAME" not in n and not (ROOT / n).exists()]


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
    """Each `s4sweep ...` line of each fenced shell block, with the document it stands in."""
    found = []
    for path in DOCUMENTS:
        for block in re.findall(r"```(?:bash|sh|console)\n(.*?)```", path.read_text(), re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                text = line.strip().removeprefix("$ ")
                if text.startswith("s4sweep "):
                    found.append((path.name, re.split(r"  #| \| | > ", text)[0].strip()))
    return found


@pytest.mark.parametrize(("document", "command"), _commands())
def test_every_command_line_in_a_document_parses(document: str, command: str) -> None:
    """The verb and its options exist and the arguments are legal; running it is another matter."""
    from cluster.cli import parser

    words = shlex.split(command)[1:]
    parser(verb=words[0]).parse_args(words)
