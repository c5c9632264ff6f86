"""Sending a sweep, or one command, to a cluster as a Ray job.

The job is the driver itself, on the head (which has no CPUs for trials and is not preempted), so
that a laptop that closes changes nothing. The nodes need the dependencies, but not our code: it
travels along (cluster/parcel.py).
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cluster import auth, jobs
from cluster.errors import Running, UserError
from cluster.parcel import Parcel
from sweeps.hints import REACHED_BY, RESUMED_WITH

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

_START_S = 120.0
_FIRST_WORDS_S = 60.0
_LAST_WORDS_S = 6.0


class Cluster(NamedTuple):
    """The job API of a cluster, and the options by which a command of ours reaches it."""

    client: JobSubmissionClient
    options: str


def submit(
    parcel: Parcel,
    arguments: Sequence[str] = (),
    *,
    address: str,
    insecure: bool = False,
    allow_imports: bool = False,
    name: str | None = None,
) -> tuple[Cluster, str]:
    """Send the driver of `parcel.sweep` to the cluster; returns that and the job's id.

    arguments: further ones of `s4sweep run`. Raises SpecError for a wrong sweep and UserError for
    a name that was submitted before.
    """
    import sweeps

    assert parcel.sweep is not None
    name = name or sweeps.load_spec(parcel.sweep, allow_imports=allow_imports).name
    cluster = _reach(address, insecure=insecure)
    if before := _ended_attempts(cluster, name):
        raise UserError(
            f"{name!r} was submitted before and {before[-1].status.value.lower()}: `s4sweep resume "
            f"{name} {cluster.options}` goes on with it, --name OTHER starts another."
        )
    words = ["run", parcel.sweep_name(), "--address", "auto", "--name", name, *arguments]
    if allow_imports:
        words.append("--allow-imports")
    return cluster, _send(cluster, words, parcel, sweep=name, attempt=1)


def resubmit(
    name: str, arguments: Sequence[str], *, address: str, parcel: Parcel, insecure: bool = False
) -> tuple[Cluster, str]:
    """Send a further attempt of a sweep that is on the cluster: `s4sweep resume NAME`.

    Raises Running while the one before has not ended.
    """
    cluster = _reach(address, insecure=insecure)
    before = _ended_attempts(cluster, name)
    number = int(before[-1].metadata["attempt"]) + 1 if before else 1
    words = ["resume", name, "--address", "auto", *arguments]
    return cluster, _send(cluster, words, parcel, sweep=name, attempt=number)


def _reach(address: str, *, insecure: bool) -> Cluster:
    client = jobs.connect(address, insecure=insecure)
    options = f"--address {client.get_address()}{' --insecure' if insecure else ''}"
    return Cluster(client, options)


def _environment(cluster: Cluster, parcel: Parcel, folder: str) -> dict[str, Any]:
    """Ray's description of what a job takes along; `folder` is filled and sent."""
    environment = parcel.runtime_env(Path(folder))
    environment["env_vars"][REACHED_BY] = cluster.options
    sent = [f"--module {shlex.quote(str(module.absolute()))}" for module in parcel.modules]
    if sent:
        environment["env_vars"][RESUMED_WITH] = " ".join(sent)
    return environment


def _ended_attempts(cluster: Cluster, name: str) -> list[Any]:
    """The jobs of a sweep, oldest first; raises Running if the last has not ended."""
    found = jobs.attempts(cluster.client, name)
    if found and not found[-1].status.is_terminal():
        raise _running(cluster, name, found[-1].submission_id)
    return found


def _running(cluster: Cluster, name: str, job: str) -> Running:
    follow = f"s4sweep logs -f {name} {cluster.options}"
    return Running(f"{name!r} is running as {job}: `{follow}` follows it.")


def _send(
    cluster: Cluster, words: Sequence[str], parcel: Parcel, *, sweep: str, attempt: int
) -> str:
    job = f"sweep-{sweep}-{attempt}"
    with tempfile.TemporaryDirectory(prefix="s4sweep-submit-") as folder:
        environment = _environment(cluster, parcel, folder)
        try:
            cluster.client.submit_job(
                entrypoint=entrypoint(words),
                submission_id=job,
                runtime_env=environment,
                metadata={"sweep": sweep, "attempt": str(attempt), "version": _version()},
            )
        except RuntimeError as error:
            # Between our look and this call somebody else may have sent the same.
            if any(j.submission_id == job for j in cluster.client.list_jobs()):
                raise _running(cluster, sweep, job) from error
            raise
    return job


def entrypoint(words: Sequence[str]) -> str:
    """The shell line of a job that runs one `s4sweep` command."""
    return shlex.join(["python", "-m", "cluster.cli", *words])


def relay(
    address: str, words: Sequence[str], *, parcel: Parcel | None = None, insecure: bool = False
) -> int:
    """Run one `s4sweep` command on the cluster's head, print what it prints, return its status.

    It takes about 6 s, most of which is Ray starting a driver.
    """
    cluster = _reach(jobs.find_address(address), insecure=insecure)
    client = cluster.client
    with tempfile.TemporaryDirectory(prefix="s4sweep-relay-") as folder:
        environment = _environment(cluster, parcel or Parcel(), folder)
        job = client.submit_job(
            entrypoint=entrypoint(words),
            submission_id=f"verb-{uuid.uuid4().hex[:12]}",
            runtime_env=environment,
            metadata={"verb": auth.redact(" ".join(words))},
        )
    status = jobs.follow(client, job)
    if not client.get_job_logs(job).strip():
        print(client.get_job_info(job).message, file=sys.stderr)
    return status


def relay_command(argv: Sequence[str], address: str, *, insecure: bool) -> int:
    """Run the command line `argv` on the cluster instead of here (its --address is for us)."""
    words, skip = [], False
    for word in argv:
        if word == "--address":
            skip = True
        elif skip:
            skip = False
        elif not word.startswith("--address=") and word != "--insecure":
            words.append(word)
    return relay(address, words, insecure=insecure)


def first_words(client: JobSubmissionClient, job: str) -> int | None:
    """Wait until a job is at work; returns its exit status if it has failed by then, else None.

    Waits at most two minutes for it to start (nodes may have to be installed first), then one for
    its first line, and six seconds more, since that line may be why it ends.
    """
    deadline = time.monotonic() + _START_S
    has_begun = has_spoken = False
    while time.monotonic() < deadline:
        status = client.get_job_status(job)
        said = jobs.clean(client.get_job_logs(job))
        if status.is_terminal():
            print(said, end="")
            return jobs.exit_status(client, job)
        if said.strip() and not has_spoken:
            has_spoken, deadline = True, time.monotonic() + _LAST_WORDS_S
        elif status.value == "RUNNING" and not has_begun:
            has_begun, deadline = True, time.monotonic() + _FIRST_WORDS_S
        time.sleep(jobs.POLL_S / 2)
    return None


def stay_or_leave(cluster: Cluster, job: str, *, name: str, detach: bool) -> int:
    """Follow the job's log to its end, or leave at once; Ctrl-C leaves too, and stops nothing."""
    client, options = cluster
    print(f"submitted {name} as {job} to {client.get_address()}", flush=True)
    hint = (
        f"{name} goes on without you: `s4sweep logs -f {name} {options}` follows it, "
        f"`s4sweep stop {name} {options}` stops it."
    )
    try:
        if detach:
            status = first_words(client, job)
            if status is None:
                print(hint)
            return status or 0
        return jobs.follow(client, job)
    except KeyboardInterrupt:
        print(f"\n{hint}")
        return 0


def add_address_argument(parser: argparse.ArgumentParser, *, relays: bool = False) -> None:
    """The options of a command about a distant cluster; with `relays` it runs there as it is."""
    parser.set_defaults(relays=relays)
    parser.add_argument(
        "--address",
        metavar="URL",
        default=jobs.named_address(),
        help="http(s)://HEAD:8265 of the cluster that has the sweep (default: $S4SWEEP_ADDRESS)",
    )
    parser.add_argument(
        "--insecure", action="store_true", help="talk to a cluster without token or encryption"
    )


def add_module_argument(parser: argparse.ArgumentParser) -> None:
    """The option that sends a package of the user's own."""
    parser.add_argument(
        "--module",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="cluster: send this package of yours too; may be repeated",
    )


def _version() -> str:
    from importlib.metadata import version

    return version("s4sweep")
