"""`s4sweep run FILE`: start a sweep and stay with it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.arguments import add_imports_argument, whole

if TYPE_CHECKING:
    from sweeps import SweepSpec

HELP = "run a sweep from a YAML file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the sweep's YAML")
    parser.add_argument("--name", help="call the sweep so, whatever the file says")
    parser.add_argument(
        "--trials", type=whole(1), metavar="N", help="as many trials, whatever it says"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with it if it exists already (for job retries)"
    )
    add_run_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every command that runs a driver."""
    parser.add_argument(
        "--address", help="a Ray cluster: auto or host:port (default: one on this machine)"
    )
    parser.add_argument("--tracking-uri", help="of MLflow (default: a database under the home)")
    parser.add_argument("--no-tracking", action="store_true", help="send nothing to MLflow")
    parser.add_argument("--no-test", action="store_true", help="do not test the best trial")
    add_imports_argument(parser)
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print a JSON object a line and event")
    shown.add_argument("--quiet", "-q", action="store_true", help="print only how it ended")


def set_environment(args: argparse.Namespace) -> None:
    """Set what Ray reads when it is imported; before any import."""
    import os

    from cluster import auth

    if args.address and auth.read_token() is not None:
        os.environ.update(auth.child_environment())


def gives_way(spec: SweepSpec, home: Path) -> bool:
    """Whether the sweep of this name never began a trial and came from another text; it then goes.

    So a file whose data were not there is mended and run again under its own name. Raises
    SweepLocked if a driver is at work on it.
    """
    from sweeps import Study, SweepLock

    kept = Study.open(spec.name, home)
    begun = kept.result().trials or any((kept.folder / "trials").iterdir())
    if begun or kept.spec.storage is not None or kept.spec.text == spec.text:
        return False
    with SweepLock(kept.folder):
        (kept.folder / "spec.json").unlink()  # what makes a sweep exist
    return True


def main(args: argparse.Namespace) -> int:
    set_environment(args)
    import dataclasses

    from cluster.ending import run_and_tell
    from cluster.errors import UserError
    from cluster.jobs import is_url
    from sweeps import Study, home, load_spec, sweep_names
    from sweeps.hints import hint

    if is_url(args.address):
        raise UserError(f"`s4sweep submit {args.file} --address {args.address}` runs it there.")
    spec = load_spec(args.file, allow_imports=args.allow_imports)
    if args.name:
        spec = dataclasses.replace(spec, name=args.name)
    if args.trials is not None:
        spec = dataclasses.replace(
            spec, search=dataclasses.replace(spec.search, trials=args.trials)
        )
    exists = spec.name in sweep_names(home()) and not gives_way(spec, home())
    if exists and not args.resume:
        raise UserError(
            f"the sweep {spec.name!r} exists already: `{hint(f'resume {spec.name}')}` goes on with "
            "it, --name OTHER starts another."
        )
    study = Study.open(spec.name, home()) if exists else Study.create(spec, home())
    if study.spec.text != spec.text:
        raise UserError(
            f"the sweep {spec.name!r} exists already, from another file than {args.file}: "
            "give this one another name."
        )
    return run_and_tell(study, args)
