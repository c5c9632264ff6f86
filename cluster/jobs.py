"""Talking to a cluster's job API: find it, refuse an unprotected one, follow a job's log.

The job API runs whatever it is sent, so a cluster that takes jobs without a token is used only on
this machine, or after --insecure. A connection that breaks (a laptop that slept) is made again and
the log goes on where it was; the job itself never notices.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
import time
import urllib.error
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import urlsplit

from cluster import auth, nodes, ray_http
from cluster.errors import FailedRun, UserError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

POLL_S = 1.0
_RETRY_S = 2.0
_GIVE_UP_S = 600.0
# Lines that Ray itself puts in front of a driver's output.
_NOISE = re.compile(
    r"^(\d{4}-\d\d-\d\d [\d:,]+\tINFO job_manager\.py:\d+ -- |Running entrypoint for job ).*$\n?",
    re.MULTILINE,
)


def find_address(given: str | None = None, *, name: str = "local") -> str:
    """The job API's URL: `given`, what the environment names, or the local cluster's.

    Raises UserError if there is none, or if it is no URL.
    """
    address = given or named_address()
    if not address:
        local = nodes.load(name)
        if local is None or not local.is_alive():
            raise UserError(
                "no cluster to talk to: give --address http(s)://HEAD:8265, set S4SWEEP_ADDRESS, "
                "or start one here: s4sweep cluster up --local 2."
            )
        return local.dashboard
    if not is_url(address) or not urlsplit(address).hostname:
        raise UserError(f"the address {address!r} is no URL: write http(s)://HEAD:8265.")
    return address.rstrip("/")


def named_address() -> str | None:
    """What the environment names: $S4SWEEP_ADDRESS, else $RAY_ADDRESS if it is a URL."""
    ray_address = os.environ.get("RAY_ADDRESS")
    return os.environ.get("S4SWEEP_ADDRESS") or (ray_address if is_url(ray_address) else None)


def address_inside() -> str | None:
    """The Ray that this process is inside of, as a job's commands are; None outside of any."""
    address = os.environ.get("RAY_ADDRESS", "")
    return address if address and not is_url(address) else None


def is_url(address: str | None) -> bool:
    """Whether it names a job API, not a Ray address such as "auto" or "host:port"."""
    return address is not None and address.startswith(("http://", "https://"))


def connect(address: str, *, insecure: bool = False) -> JobSubmissionClient:
    """A client for the job API; raises UserError for one that is away, open to all, or too old."""
    import ray

    check_protection(address, insecure=insecure)
    version = _ask(address)
    if version != ray.__version__:
        raise UserError(
            f"the cluster at {address} runs Ray {version} and this machine {ray.__version__}: "
            "install the same on both."
        )
    from ray.job_submission import JobSubmissionClient

    # They report each upload and each closed stream, at a level that importing ray has set.
    for module in ("", ".dashboard.modules.dashboard_sdk", ".dashboard.modules.job.sdk"):
        logging.getLogger(f"ray{module}").setLevel(logging.ERROR)
    token = auth.read_token()
    headers = {"Authorization": f"Bearer {token}"} if token else None
    return JobSubmissionClient(address, headers=headers)


def check_protection(address: str, *, insecure: bool = False) -> None:
    """Refuse, unless `insecure`, a distant cluster that has no token or gets it in the clear."""
    if insecure or auth.is_loopback(address):
        return
    if not address.startswith("https://"):
        raise UserError(
            f"{address} would get the token unencrypted: use https, forward the port "
            "(ssh -L 8265:127.0.0.1:8265 HEAD) and use http://127.0.0.1:8265, or add --insecure "
            "on a network that you trust."
        )
    if _answers_anybody(address):
        raise UserError(
            f"{address} takes jobs from anybody: start it with RAY_AUTH_MODE=token, "
            "or add --insecure."
        )


def _answers_anybody(address: str) -> bool:
    try:
        ray_http.get(f"{address}/api/version", token=False)
    except (OSError, ValueError):
        return False
    return True


def _ask(address: str) -> str:
    try:
        return str(ray_http.get(f"{address}/api/version")["ray_version"])
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise UserError(
                f"{address} does not accept the token in {auth.token_path()}: copy the cluster's "
                "there, or set RAY_AUTH_TOKEN_PATH."
            ) from error
        raise UserError(f"{address} answers {error.code}: is it a Ray dashboard?") from error
    except (OSError, ValueError, KeyError) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(f"no Ray dashboard answers at {address}: {reason}.") from error


def attempts(client: JobSubmissionClient, sweep: str) -> list[Any]:
    """The jobs that were submitted for a sweep, oldest first."""
    jobs = [j for j in client.list_jobs() if (j.metadata or {}).get("sweep") == sweep]
    return sorted(jobs, key=lambda job: int(job.metadata["attempt"]))


def follow(client: JobSubmissionClient, job: str, out: TextIO | None = None) -> int:
    """Print a job's log until the job has ended; returns its exit status (0, 1 or 2).

    Raises FailedRun when the cluster has been away for ten minutes; KeyboardInterrupt leaves the
    job alone.
    """
    stream = out or sys.stdout

    def show(text: str) -> None:
        stream.write(text)
        stream.flush()

    printed, last_contact = 0, time.monotonic()
    while True:
        try:
            printed = asyncio.run(_tail(client, job, printed, show))
            if client.get_job_status(job).is_terminal():
                text = clean(client.get_job_logs(job))
                show(text[printed:])
                return exit_status(client, job)
            last_contact = time.monotonic()
        except (OSError, RuntimeError) as error:
            away = time.monotonic() - last_contact
            if away > _GIVE_UP_S:
                raise FailedRun(
                    f"the cluster has not answered for {away:.0f} s: {error}"
                ) from error
            time.sleep(_RETRY_S)


async def _tail(
    client: JobSubmissionClient, job: str, printed: int, show: Callable[[str], None]
) -> int:
    """Show what comes after the first `printed` characters; returns how many are printed now."""
    seen = 0
    async for text in _lines(client.tail_job_logs(job)):
        if seen + len(text) > printed:
            show(text[max(0, printed - seen) :])
        seen += len(text)
    return max(seen, printed)


async def _lines(chunks: AsyncIterator[str]) -> AsyncIterator[str]:
    """Whole lines of a stream of chunks, without Ray's own."""
    rest = ""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split("\n")
        for line in lines:
            text = clean(f"{line}\n")
            if text:
                yield text
    if rest:
        yield rest


def clean(log: str) -> str:
    """A driver's log without the lines that Ray puts in front of it."""
    return _NOISE.sub("", log)


def exit_status(client: JobSubmissionClient, job: str) -> int:
    """0 for a job that succeeded, 2 if its driver ended with 2 (a user's mistake), else 1."""
    info = client.get_job_info(job)
    if info.status.value == "SUCCEEDED":
        return 0
    return 2 if info.driver_exit_code == 2 else 1
