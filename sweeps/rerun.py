"""A spec that runs one trial of a sweep again: plain values in place of ranges, the same seed."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from .files import plain
from .population import LINEAGE
from .study import Study


def rerun_yaml(study: Study, number: int, *, ran_with: Mapping[str, str] | None = None) -> str:
    """Give the YAML; `load_spec` takes it.

    ran_with: what decided the trial's numbers beside its spec; whoever runs it is told what
    differs.
    """
    trial = study.trial_spec(number)
    patience = {"patience": None} if study.spec.search.is_population else {}
    objectives = [plain(o) for o in study.spec.objectives]
    several = {"objectives": objectives} if len(objectives) > 1 else {"objective": objectives[0]}
    tree = {
        "name": f"{study.spec.name}-{number}",
        **several,
        "data": plain(trial.data),
        "model": plain(trial.model),
        "train": {**plain(trial.train), **patience},
        "seed": trial.seed,
        "search": {"sampler": "grid", "trials": 1},
        "resources": {k: v for k, v in plain(study.spec.resources).items() if v not in (None, {})},
        **({"ran_with": dict(ran_with)} if ran_with else {}),
    }
    moves = study.ledger.trial(number).user_attrs.get(LINEAGE, [])
    over = ", ".join(str(move["from"]) for move in moves)
    how = f"with its last settings; its weights it took over from trial {over}"
    head = f"# Trial {number} of sweep {study.spec.name}, {how if moves else 'as it was run'}.\n"
    return head + yaml.safe_dump(tree, sort_keys=False)
