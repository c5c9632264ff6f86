"""A look at something every few seconds, beside what is done."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def meanwhile(look: Callable[[], None], *, every_s: float, name: str) -> Iterator[None]:
    """Call `look` in a thread while the block runs, first after every_s; done when it is left."""
    done = threading.Event()

    def keep_looking() -> None:
        while not done.wait(every_s):
            look()

    thread = threading.Thread(target=keep_looking, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
