"""Safe YAML with places: what is refused, and where it says the fault is."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps import SpecError
from sweeps.yaml_tree import parse_yaml, read_yaml


def test_every_node_has_the_place_of_its_key() -> None:
    tree = parse_yaml("a: 1\nb:\n  c: [x, {d: 2}]\n", file="f.yaml")
    assert tree.data == {"a": 1, "b": {"c": ["x", {"d": 2}]}}
    lines = {path: mark.line for path, mark in tree.marks.items()}
    assert lines[("a",)] == 1
    assert lines[("b",)] == 2
    assert lines[("b", "c", 1, "d")] == 3


def test_a_missing_path_has_the_place_of_what_is_around_it() -> None:
    tree = parse_yaml("a: 1\nb:\n  c: 1\n", file="f.yaml")
    mark = tree.mark(("b", "zzz"))
    assert mark is not None and mark.line == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3: a: key given twice, first in line 1."),
        ("a:\n\tb: 1\n", "f.yaml:2: a tab; YAML wants spaces for indentation."),
        (
            "a: !!python/object:os.system x\n",
            "f.yaml:1: a tag (!...); only plain values are allowed.",
        ),
        ("yes: 1\nyes: 2\n", "f.yaml:2: yes: key given twice, first in line 1."),
        (
            "a: [1, 2\nb: 3\n",
            "f.yaml:2: not YAML: while parsing a flow sequence of line 1, expected ',' or ']', "
            "but got ':'.",
        ),
        ("[" * 3000, "f.yaml:1: nested too deeply to be read."),
        ("? [a]\n: 1\n", "f.yaml:1: a key must be text."),
        ("a: &x [*x]\n", "f.yaml:1: a.0: an alias that contains itself."),
        (
            "a: 1\n---\nb: 2\n",
            "f.yaml:2: not YAML: expected a single document in the stream of line 1, but found "
            "another document.",
        ),
        ("a: [0x_]\n", "f.yaml:1: a.0: '0x_' is no number; text like this wants quotes."),
        ("a: 1\nb: \0\n", "f.yaml:2: the character U+0000 cannot stand in YAML."),
        ("a: !!binary aGk=\n", "f.yaml:1: a: a tag (!...); only plain values."),
    ],
)
def test_what_is_refused_is_said_in_one_line(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_yaml(text, file="f.yaml")
    assert str(caught.value) == said


def test_a_date_is_text_even_one_that_no_calendar_has() -> None:
    assert parse_yaml("a: [2024-01-31, 2024-13-45]\n", file="f.yaml").data == {
        "a": ["2024-01-31", "2024-13-45"]
    }


def test_a_file_that_is_not_utf_8_is_refused_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_bytes("a: 1\nb: m\xfcde\n".encode("latin1"))
    with pytest.raises(SpecError, match=r"f\.yaml:2: byte 0xfc is not UTF-8; save the file"):
        read_yaml(tmp_path / "f.yaml")


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(SpecError, match="more than 100,000 values"):
        parse_yaml("\n".join(lines), file="f.yaml")


def test_a_merge_gives_way_to_the_keys_of_the_mapping() -> None:
    tree = parse_yaml("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\n", file="f.yaml")
    assert tree.data["use"] == {"x": 1, "y": 3}
