"""`s4sweep presets`: the published experiments and what they reached."""

from __future__ import annotations

import argparse

HELP = "list the published experiments, or show one as YAML"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="one preset, or the start of names")
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    import dataclasses
    import json

    import yaml

    from cluster.errors import UserError
    from sweeps.presets import NoSuchPreset, Preset, find_preset, preset_names

    def shown(preset: Preset) -> dict[str, object]:
        return {k: v for k, v in dataclasses.asdict(preset).items() if v not in (None, "")}

    chosen = [n for n in preset_names() if args.name is None or n.startswith(args.name)]
    if args.name in preset_names():
        one = shown(find_preset(args.name))
        print(json.dumps(one) if args.json else yaml.safe_dump(one, sort_keys=False).rstrip())
        return 0
    if not chosen:
        try:
            find_preset(args.name)
        except NoSuchPreset as error:
            raise UserError(str(error)) from error
    presets = [find_preset(name) for name in chosen]
    if args.json:
        print(json.dumps([shown(p) for p in presets]))
        return 0
    from rich.table import Table

    from cluster.live import console

    table = Table(title=f"{len(presets)} presets", title_justify="left")
    for column in ("preset", "model", "published", "seen"):
        table.add_column(column, no_wrap=column == "preset")
    for p in presets:
        value = "" if p.published is None else f"{p.published.metric} {p.published.value:.4g}"
        spread = f" ({p.published.std:.2g})" if p.published and p.published.std else ""
        seen = p.published.checked if p.published else ""
        table.add_row(p.name, p.model["name"], value + spread, seen)
    console().print(table)
    print("use one: `preset: NAME` in a YAML, `baselines: [NAME]`, `s4sweep train preset=NAME`")
    return 0
