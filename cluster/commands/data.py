"""`s4sweep data ...`: the data sets there are, and what of them is prepared here."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data_prep.inventory import Cached

HELP = "list, describe, prepare, verify and clear away data sets"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from cluster.download import add_network_arguments

    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    act = actions.add_parser("list", help="every data set, and what is prepared in this home")
    act.add_argument("--json", action="store_true", help="print one JSON list")
    act = actions.add_parser("show", help="a data set's card: source, licence, options, splits")
    act.add_argument("name", metavar="NAME")
    act.add_argument("--json", action="store_true", help="print one JSON object")
    act = actions.add_parser("prepare", help="make (and download) a data set, once")
    act.add_argument("name", metavar="NAME")
    act.add_argument(
        "options", metavar="OPTION=VALUE", nargs="*", help="as in a sweep's data block"
    )
    add_network_arguments(act)
    act = actions.add_parser("verify", help="read every byte that is prepared and check it")
    act.add_argument("name", metavar="NAME", nargs="?")
    act = actions.add_parser("prune", help="delete what is damaged, abandoned or out of date")
    act.add_argument("name", metavar="NAME", nargs="?")
    act.add_argument("--all", action="store_true", help="good ones too: they can be made again")
    act.add_argument("--dry-run", action="store_true", help="only say what would be deleted")
    act = actions.add_parser("where", help="the folders of a data set: its raw files, its cache")
    act.add_argument("name", metavar="NAME")


def main(args: argparse.Namespace) -> int:
    status: int = globals()[f"_{args.action}"](args)
    return status


def _list(args: argparse.Namespace) -> int:
    from data_prep import dataset_card, dataset_names
    from data_prep.inventory import cached, describe
    from data_prep.registry import stored_name
    from sweeps.home import home

    found = list(cached(home()))
    if args.json:
        cards = [dataset_card(name).to_json() for name in dataset_names()]
        print(json.dumps({"datasets": cards, "cached": [describe(c) for c in found]}))
        return 0
    from rich.table import Table

    from cluster.live import console

    table = Table(title=f"data sets ({home() / 'data'})", title_justify="left")
    for column in ("name", "what", "rows", "prepared here"):
        table.add_column(column)
    for name in dataset_names():
        card = dataset_card(name)
        rows = "/".join(f"{n:,}" for n in card.splits.values()) or "yours"
        is_view = stored_name(name) != name
        here = f"a view of {stored_name(name)}" if is_view else _prepared(name, found)
        table.add_row(name, card.title, rows, here or "-")
    for name in sorted({c.dataset for c in found} - set(dataset_names())):
        table.add_row(name, "a module of your own", "", _prepared(name, found))
    console().print(table)
    return 0


def _prepared(name: str, found: list[Cached]) -> str:
    from data_prep.card import amount

    return ", ".join(f"{amount(c.bytes)} {c.state}" for c in found if c.dataset == name)


def _show(args: argparse.Namespace) -> int:
    from data_prep import dataset_card
    from data_prep.describe import card_text, options_of

    card = dataset_card(args.name)
    if args.json:
        print(json.dumps({**card.to_json(), "options": options_of(args.name)}))
        return 0
    print(card_text(args.name))
    return 0


def _prepare(args: argparse.Namespace) -> int:
    from cluster.download import prepare_block
    from sweeps.single import read_settings

    prepare_block(args.name, read_settings(args.options), args)
    return 0


def _verify(args: argparse.Namespace) -> int:
    from cluster.errors import FailedRun
    from data_prep.inventory import verify
    from sweeps.home import home

    bad, looked_at = [], 0
    for found, wrong in verify(home(), dataset=_stored(args.name)):
        print(f"{found.dataset}/{found.folder.name}: {wrong or 'good'}")
        bad += [found.folder] if wrong else []
        looked_at += 1
    if not looked_at:
        print(f"nothing of {args.name or 'any data set'} is prepared in {home()}")
    if bad:
        raise FailedRun(
            f"{len(bad)} damaged; the next `s4sweep data prepare` moves them aside and rebuilds."
        )
    return 0


def _stored(name: str | None) -> str | None:
    """Return the data set in whose cache this one is; raises DataError if there is no such one."""
    from data_prep.registry import stored_name

    return stored_name(name) if name else None


def _prune(args: argparse.Namespace) -> int:
    from data_prep.card import amount
    from data_prep.inventory import prune
    from sweeps.home import home

    freed = 0
    for found in prune(home(), dataset=_stored(args.name), everything=args.all, dry=args.dry_run):
        print(f"{found.folder} ({found.state}, {amount(found.bytes)})")
        freed += found.bytes
    print(f"{amount(freed)} {'would be ' if args.dry_run else ''}freed")
    return 0


def _where(args: argparse.Namespace) -> int:
    from data_prep.registry import raw_folder, stored_name
    from sweeps.home import home

    print(f"raw files: {raw_folder(args.name, home())}")
    print(f"prepared:  {Path(home()) / 'data' / stored_name(args.name)}")
    return 0
