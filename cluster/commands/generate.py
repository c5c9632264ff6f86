"""`s4sweep generate NAME`: sequences sampled from the best trial, as sound, text or numbers."""

from __future__ import annotations

import argparse
from pathlib import Path

from cluster.arguments import add_imports_argument, whole

HELP = "sample sequences from a model of the next token: sound (WAV), text, or numbers (npy)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the sweep")
    parser.add_argument(
        "--trial", type=whole(0), metavar="N", help="this trial in place of the best"
    )
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best")
    parser.add_argument(
        "--samples", type=whole(1), default=4, metavar="N", help="how many (default: 4)"
    )
    parser.add_argument(
        "--length",
        type=whole(1),
        metavar="STEPS",
        help="steps after the prefix (default: up to the length of the training data)",
    )
    parser.add_argument(
        "--prefix",
        type=whole(1),
        default=1,
        metavar="STEPS",
        help="steps given from the first rows of the split (default: 1, the start)",
    )
    parser.add_argument("--split", default="test", help="test, val or train (default: test)")
    parser.add_argument("--temperature", type=float, default=1.0, help="0 takes the likeliest")
    parser.add_argument(
        "--top-p", type=float, default=1.0, help="draw among the likeliest that have this share"
    )
    parser.add_argument("--seed", type=whole(0), default=0)
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU if there is one)")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="default: ./NAME-TRIAL-samples")
    parser.add_argument("--json", action="store_true", help="print one JSON list")
    add_imports_argument(parser)


def main(args: argparse.Namespace) -> int:
    import json

    from sweeps import Study, home
    from sweeps.generation import generate_trial

    made = generate_trial(
        Study.open(args.name, home()),
        args.trial,
        args.to,
        samples=args.samples,
        length=args.length,
        prefix=args.prefix,
        split=args.split,
        checkpoint=args.checkpoint,
        temperature=args.temperature,
        top_p=args.top_p,
        seed=args.seed,
        device=args.device,
    )
    if args.json:
        print(json.dumps([{"path": str(s.path), "bits_per_step": s.bits} for s in made]))
        return 0
    for sample in made:
        print(f"{sample.path}  {sample.bits:.3f} bits a step")
    return 0
