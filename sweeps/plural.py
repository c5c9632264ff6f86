"""Numbers of things, for people: 1 trial, 2 trials."""

from __future__ import annotations


def plural(number: float, noun: str) -> str:
    """`number` with its noun, which takes an s unless there is one: 1,024 trials, 0.5 CPUs."""
    shown = f"{number:,}" if isinstance(number, int) else f"{number:g}"
    return f"{shown} {noun}{'' if number == 1 else 's'}"
