"""`s4sweep export NAME --to FOLDER`: a trained model without the sweep around it."""

from __future__ import annotations

import argparse
from pathlib import Path

from cluster.arguments import add_imports_argument, whole

HELP = "export the best model of a sweep: weights (safetensors), config and card"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the sweep")
    parser.add_argument(
        "--trial", type=whole(0), metavar="N", help="this trial in place of the best"
    )
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="default: ./NAME-TRIAL")
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best")
    parser.add_argument("--onnx", action="store_true", help="the step mode as ONNX, too")
    add_imports_argument(parser)


def main(args: argparse.Namespace) -> int:
    from sweeps import Study, home
    from sweeps.results import export_trial

    study = Study.open(args.name, home())
    folder = export_trial(study, args.trial, args.to, checkpoint=args.checkpoint, onnx=args.onnx)
    for path in sorted(folder.iterdir()):
        print(f"{path}  ({path.stat().st_size:,} bytes)")
    return 0
