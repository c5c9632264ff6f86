"""`s4sweep train preset=... a.b=c`: one configuration, kept and tracked as a sweep of one trial."""

from __future__ import annotations

import argparse

from cluster.commands.run import add_run_arguments, set_environment

HELP = """train one configuration, from a preset or a file, with values set by dotted path

  s4sweep train preset=lra/listops/s4d-legs
  s4sweep train preset=lra/listops/s4d-legs model.n_layers=3 train.lr=0.002
  s4sweep train data.name=smnist data.variant=mlxtend5k model.name=s4d train.epochs=5"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", metavar="KEY=VALUE", nargs="+", help="preset=NAME, a FILE, or a.b=value"
    )
    add_run_arguments(parser)


def main(args: argparse.Namespace) -> int:
    set_environment(args)
    from cluster.ending import run_and_tell
    from cluster.errors import UserError
    from cluster.jobs import is_url
    from sweeps import Study, home
    from sweeps.presets import find_preset
    from sweeps.single import read_words

    if is_url(args.address):
        raise UserError("train runs here; write a YAML with `preset:` and `s4sweep submit` it.")
    spec = read_words(args.words, home(), allow_imports=args.allow_imports)
    status = run_and_tell(Study.create(spec, home()), args)
    named = [w.partition("=")[2] for w in args.words if w.startswith("preset=")]
    published = find_preset(named[-1]).published if named else None
    if published is not None and not args.json:
        spread = f" (+- {published.std:.2g})" if published.std else ""
        print(f"published: {published.metric} {published.value:.4g}{spread}")
    return status
