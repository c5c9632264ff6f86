"""`s4sweep enqueue NAME key=value...`: the next trial of a sweep, from any terminal."""

from __future__ import annotations

import argparse

from sweeps.plural import plural

HELP = """have a configuration run next; what is not given is sampled

  s4sweep enqueue quickstart train.lr=0.01 model=s4d
  s4sweep enqueue quickstart preset=smnist/annotated-s4   a published experiment on this data"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cluster.submit import add_address_argument

    add_address_argument(parser, relays=True)
    parser.add_argument("name", metavar="NAME", help="the sweep")
    parser.add_argument(
        "words", metavar="KEY=VALUE", nargs="+", help="parameters of the space, or preset=NAME"
    )


def main(args: argparse.Namespace) -> int:
    from cluster.control import idle_hint
    from cluster.errors import UserError
    from sweeps import Study, home
    from sweeps.remote_home import steered
    from sweeps.single import read_settings

    study = Study.open(args.name, home())
    values = read_settings(args.words)
    preset = values.pop("preset", None)
    if preset is not None and values:
        raise UserError("preset=NAME stands alone: it gives every value.")
    with steered(study):
        if preset is not None:
            study.enqueue_preset(str(preset))
        else:
            study.enqueue(values)
    waiting = sum(t.state.value == "waiting" for t in study.result().trials)
    print(f"{args.name}: {plural(waiting, 'trial')} waiting")
    print(idle_hint(study.folder), end="")
    return 0
