"""The command line `s4sweep`: find the verb's file, read arguments, map errors to exits.

Exit status 0 is good, 2 a user's mistake (one line on stderr), 1 a bug or a failed run, 130 an
interrupt. Nothing heavy is imported here: `s4sweep --help` takes about 0.1 s, import torch 2 s.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import logging
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from cluster import commands
from cluster.errors import FailedRun, UserError

# Errors of the user that other packages raise, by where they live: a class whose module was not
# imported cannot have been raised, and so none has to be imported to be recognised.
USER_ERRORS = (
    ("cluster.errors", "UserError"),
    ("s4core.config", "ConfigError"),
    ("data_prep", "DataError"),
    ("sweeps", "SweepError"),
    ("dashboards", "DashboardError"),
)

INTRODUCTION = """\
s4sweep trains S4 models over a searched space of settings, on this machine or on a Ray cluster.

  s4sweep check examples/quickstart.yaml   read a sweep and say what is wrong with it
  s4sweep run examples/quickstart.yaml     run it; Ctrl-C stops it, and nothing is lost
  s4sweep resume quickstart                go on where it stopped or was killed
  s4sweep resume quickstart --best --epochs +5    train the best trial further
  s4sweep list | status quickstart         what there is, and how it stands
  s4sweep dashboard                        look at it in a browser

`s4sweep --help` lists every command, `s4sweep COMMAND --help` explains one."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, as everybody else's.

    It knows no abbreviations: an --addr in place of --address would be sent along with the command
    that it sends to a cluster, and be obeyed there, again and again.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{message} (`{self.prog} --help` explains).")


def verbs() -> tuple[str, ...]:
    """The verbs there are, in alphabetical order."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(commands.__path__)))


def load(verb: str) -> ModuleType:
    """Import the file of one verb."""
    return importlib.import_module(f"{commands.__name__}.{verb}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status and never raises."""
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
    )
    try:
        return _run(argv)
    except SystemExit as stop:  # argparse: 0 after --help, 2 after a wrong argument
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        print("s4sweep: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone: what is left in the buffer must not raise at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        status, line = explain(error)
        print(f"s4sweep: {line}", file=sys.stderr)
        return status


def explain(error: Exception) -> tuple[int, str]:
    """The exit status of an error and the one line that is said about it."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, FailedRun):
        return 1, text
    if any(isinstance(error, kind) for kind in _user_errors()):
        return 2, text
    if isinstance(error, OSError) and error.filename is not None:
        return 1, f"{error.filename}: {error.strerror}."
    return 1, f"{type(error).__name__}: {text} (an error of s4sweep's own; --debug shows where)"


def _user_errors() -> Iterator[type[Exception]]:
    for module, name in USER_ERRORS:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None:
            yield kind


def parser(verb: str | None = None) -> argparse.ArgumentParser:
    """The parser of every command, or of one: then only that command's file is imported."""
    full = Parser(
        prog="s4sweep",
        description="Hyperparameter sweeps of structured state space (S4) models.",
        parents=[_common()],
    )
    full.add_argument("--version", action="version", version=_version())
    commands_of = full.add_subparsers(dest="verb", metavar="COMMAND", title="commands")
    for name in verbs() if verb is None else (verb,):
        module = load(name)
        sub = commands_of.add_parser(
            name,
            help=module.HELP.splitlines()[0],
            description=module.HELP,
            parents=[_common(default=argparse.SUPPRESS)],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.set_defaults(main=module.main)
    return full


def _run(argv: list[str]) -> int:
    verb = _verb(argv)
    if verb is not None and verb not in verbs():
        near = difflib.get_close_matches(verb, verbs(), n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(f"no command {verb!r}: choose from {', '.join(verbs())}.{hint}")
    if not argv:
        print(INTRODUCTION)
        return 0
    args = parser(verb).parse_args(argv)
    if args.verb is None:
        print(INTRODUCTION)
        return 0
    if args.home:
        from sweeps.hints import TYPED_HOME

        # Workers and child processes read the same variable, and so all mean the same home.
        os.environ["S4SWEEP_HOME"] = args.home if "://" in args.home else _absolute(args.home)
        os.environ[TYPED_HOME] = os.environ["S4SWEEP_HOME"]
    if getattr(args, "allow_imports", False):
        _import_from_here()
    if getattr(args, "relays", False) and args.address:
        from cluster.submit import relay_command

        return relay_command(argv, args.address, insecure=args.insecure)
    if "://" in os.environ.get("S4SWEEP_HOME", ""):
        from sweeps.remote_home import mirror, refresh

        there = mirror()
        if there is not None:
            refresh(there, checkpoints=getattr(args, "name", None))
    status: int = args.main(args)
    return status


def _import_from_here() -> None:
    """Let this folder's modules be imported, here and by the workers, which inherit the path."""
    from sweeps.hints import RESUMED_WITH

    os.environ.setdefault(RESUMED_WITH, "--allow-imports")
    here = os.getcwd()
    sys.path.insert(0, here)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([here, before] if before else [here])


def _absolute(home: str) -> str:
    return str(Path(home).expanduser().absolute())


def _verb(argv: list[str]) -> str | None:
    """The first word that is no option nor --home's value."""
    skip = False
    for word in argv:
        if skip:
            skip = False
        elif word == "--home":
            skip = True
        elif not word.startswith("-"):
            return word
    return None


def _common(default: str | None = None) -> Parser:
    """What may stand before and after the verb; SUPPRESS there keeps what stood before."""
    common = Parser(add_help=False)
    group = common.add_argument_group("for every command")
    group.add_argument(
        "--home",
        metavar="FOLDER",
        default=default,
        help="where sweeps and data are kept ($S4SWEEP_HOME, else ~/s4sweep)",
    )
    group.add_argument(
        "--debug",
        action="store_true",
        default=default or False,
        help="show tracebacks and debug messages",
    )
    return common


def _version() -> str:
    from importlib.metadata import version

    return f"s4sweep {version('s4sweep')}"


if __name__ == "__main__":
    sys.exit(main())
