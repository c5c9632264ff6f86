"""What the documents tell a reader to type: commands and their output, block by block."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("benchmarks/*.md")]
)
_BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Command:
    """One line for a shell, or a whole program in Python.

    block: its number within the document; output: what is shown of it.
    """

    text: str
    block: int = 0
    output: tuple[str, ...] = ()
    is_python: bool = False


def name_of(document: Path) -> str:
    """The path of a document within the repository."""
    return document.relative_to(ROOT).as_posix()


def commands(document: Path) -> list[Command]:
    """Every command of the document's blocks for a shell or Python, in order, without comments."""
    found = []
    for number, (language, text) in enumerate(_BLOCK.findall(document.read_text())):
        if language == "python":
            found.append(Command(text, number, is_python=True))
        elif language in ("bash", "sh", "console"):
            found += _lines(text, number)
    return found


def _lines(text: str, block: int) -> list[Command]:
    found: list[Command] = []
    lines = text.replace("\\\n", " ").splitlines()
    is_session = lines[0].startswith("$ ")
    for line in lines:
        if is_session and not line.startswith("$ "):
            found[-1] = dataclasses.replace(found[-1], output=(*found[-1].output, line))
        elif line.strip() and not line.startswith("#"):
            plain = re.sub(r"\s+#\s.*", "", line.removeprefix("$ ")).strip()
            found.append(Command(plain, block))
    return found


def mentioned(document: Path) -> list[str]:
    """Every whole `s4sweep ...` command in the running text."""
    whole = [code for code in inline(document) if re.match("s4sweep [a-z]", code)]
    return [code for code in whole if not re.search(r"[\[\].|]", code)]


def inline(document: Path) -> list[str]:
    """Everything in the running text that is set as code."""
    return re.findall(r"`([^`]+)`", _BLOCK.sub("", document.read_text()))
