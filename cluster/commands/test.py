"""`s4sweep test NAME`: the best trial (or another) on the test split."""

from __future__ import annotations

import argparse

from cluster.arguments import add_imports_argument, whole

HELP = "test the best trial of a sweep, or another one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the sweep")
    parser.add_argument(
        "--trial", type=whole(0), metavar="N", help="this trial in place of the best"
    )
    parser.add_argument("--split", default="test", help="test, val or train (default: test)")
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best")
    parser.add_argument(
        "--data",
        metavar="KEY=VALUE",
        nargs="+",
        default=[],
        help="options of the data in place of the trial's (rate=2: half the sampling rate)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    add_imports_argument(parser)


def main(args: argparse.Namespace) -> int:
    import json

    from cluster.bars import bars
    from sweeps import Study, home
    from sweeps.results import published_of, test_trial
    from sweeps.single import read_settings

    study = Study.open(args.name, home())
    options = read_settings(args.data)
    with bars() as tell:
        number, metrics = test_trial(
            study,
            args.trial,
            split=args.split,
            checkpoint=args.checkpoint,
            options=options,
            tell=tell,
        )
    published = published_of(study, number, options)
    if args.json:
        print(json.dumps({"number": number, "metrics": metrics}))
        return 0
    print(f"trial {number}: " + "  ".join(f"{k} {v:.4f}" for k, v in sorted(metrics.items())))
    if published is not None:
        print(f"published: {published.metric} {published.value:.4g}")
    return 0
