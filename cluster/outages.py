"""Waiting for a storage that is away: which errors may pass by themselves, and for how long."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
logger = logging.getLogger(__name__)

# Full, read-only, broken, stale or unreachable: somebody or something may mend it. Not among them:
# ENOENT and EACCES, which are mistakes that waiting does not mend.
PASSING = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENOTCONN,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EREMOTEIO,
    }
)
LONGEST_WAIT_S = 30.0


class Patience:
    """Waits 1, 2, 4, ... 30 s between tries, for `limit_s` in all since the last success."""

    def __init__(self, limit_s: float, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._limit_s = limit_s
        self._sleep = sleep
        self.renew()

    def renew(self) -> None:
        """Something worked: the next outage gets the whole time again."""
        self._waited_s = 0.0
        self._next_s = 1.0

    def wait(self, error: OSError) -> bool:
        """Sleep a little if the error may pass; False when it will not, or the time is up."""
        if error.errno not in PASSING or self._waited_s >= self._limit_s:
            return False
        logger.warning("storage: %s; trying again in %.0f s", error, self._next_s)
        self._sleep(self._next_s)
        self._waited_s += self._next_s
        self._next_s = min(2 * self._next_s, LONGEST_WAIT_S)
        return True


def patiently(
    action: Callable[[], T],
    *,
    limit_s: float = 600.0,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Do `action`, again and again while its storage is away; raises what does not pass."""
    patience = Patience(limit_s, sleep=sleep)
    while True:
        try:
            return action()
        except OSError as error:
            if not patience.wait(error):
                raise
