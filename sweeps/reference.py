"""docs/yaml.md, written from the classes that check a YAML: `python -m sweeps.reference`."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterable
from types import ModuleType
from typing import Any, get_args, get_type_hints

import data_prep
import s4core
from s4core.nn.options import ConvOptions, StackOptions
from s4core.ssm.modes import ModeOptions

from . import catalog
from .spec import Resources, Search
from .types import Objective

# Classes of fields that many models have: told once, and named where a model has them.
COMMON = {
    StackOptions: "every model",
    ConvOptions: "every model with kernels",
    ModeOptions: "every system of modes",
}

WORDS = {
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
    "str": "text",
    "NoneType": "null",
    "None": "null",
}

HEAD = """# The YAML of a sweep

<!-- Written by `python -m sweeps.reference > docs/yaml.md`; a test holds it to the code. -->

A sweep is one YAML file. `s4sweep check FILE` reads it and says in one line each what is wrong;
`s4sweep check --schema` prints a JSON schema for editors that complete while you type (VS Code:
put `# yaml-language-server: $schema=./sweep.schema.json` in the first line).

| key | what |
|---|---|
| `name` | of the sweep, and of its folder; the file's name if it is not given |
| `objective` | the one metric that moves patience, `best.pt`, pruning and "best trial" |
| `objectives` | a list of two or more in place of `objective`: a Pareto sweep, without pruning |
| `data`, `model`, `train` | the three blocks of a trial; a range may stand wherever a value may |
| `search` | sampler, pruner, budgets |
| `resources` | what a trial needs, and how many run at once |
| `seed` | of the trials: the same for all of them, so that they differ by their settings alone |
| `where` | expressions that every trial makes true: `["model.d_model % model.n_layers == 0"]` |
| `repeat` | `{seeds: 3}`: every configuration runs with three seeds and counts by their mean |
| `baselines` | presets that run first, on the data of this sweep |
| `preset` | a published experiment to start from; what the file says wins (`s4sweep presets`) |
| `include` | a file, or a list, to start from; paths are from this file |
| `from` | sweeps of this home whose finished trials the sampler learns from |
| `storage` | an Optuna URL in place of the journal; `{env: NAME}` keeps a password out of files |
| `notes` | anything |
| `ran_with` | written by `s4sweep best NAME --yaml`: what it ran with; a run tells what differs |

A PostgreSQL `storage` is `postgresql+psycopg://...` and wants `pip install 's4sweep[postgresql]'`.

`{env: NAME}` or `{env: NAME, default: x}` in place of a value reads an environment variable; no
other variable is ever read.

## Ranges

| range | draws |
|---|---|
| `{choice: [a, b, c]}` | one of them; they may be whole blocks, with ranges of their own |
| `{uniform: [low, high]}`, with `step:` | a number; both ends count |
| `{log_uniform: [low, high]}` | a number whose logarithm is uniform |
| `{int: [low, high]}`, with `step:` | a whole number |
| `{log_int: [low, high]}` | a whole number whose logarithm is uniform |
| `{normal: [mean, std]}` | a normal number, cut where 1 in 2000 lies beyond |
| `{expr: "model.d_model // 4"}` | not drawn: worked out from the others |

Keys beside a `choice` of blocks are common to all of them:

```yaml
model:
  n_layers: {choice: [2, 4]}
  choice:
    - {name: s4d, init: {choice: [lin, inv]}}
    - {name: s4, rank: {int: [1, 2]}}
```

Parameters are named by their path, below a chosen block by the name of that block: `model`,
`model.n_layers`, `model.s4d.init`, `model.s4.rank`. These are the names in tables, dashboards and
`s4sweep enqueue`. A number needs a dot before the e: YAML reads `1e-4` as text, `1.0e-4` as a
number.

Expressions (`where`, `expr`) know numbers, text, `+ - * / // %`, comparisons, `and or not in`,
`a if c else b` and the functions abs, min, max, round, int, float, sqrt, log2, log10, ceil, floor.
Names are paths: `train.lr`. Values that are not given have their defaults in `where`.
"""


def main() -> None:
    """Print the reference."""
    print(reference(), end="")


def reference() -> str:
    """Give the text of docs/yaml.md."""
    parts = [
        HEAD,
        _section("objective", Objective, level=2),
        _section("search", Search, level=2),
        *_folder("Samplers", "samplers"),
        *_folder("Pruners", "pruners"),
        _section("resources", Resources, level=2),
        _section("train", s4core.TrainConfig, level=2),
        "## data\n",
        *(_data(name) for name in data_prep.dataset_names()),
        "## model\n",
        *(_section(f"Fields of {of}", cls, level=3) for cls, of in COMMON.items()),
        *(_model(name) for name in s4core.model_names()),
    ]
    return "\n".join(parts)


def _folder(title: str, kind: catalog.Kind) -> Iterable[str]:
    yield f"## {title}\n"
    for name in catalog.names(kind):
        module = catalog.load(kind, name)
        about = f"### `{name}`\n\n{_first_paragraph(module)}\n"
        yield f"{about}\n{_meaning(module.Options)}{_fields(module.Options)}"


def _data(name: str) -> str:
    module = importlib.import_module(f"data_prep.datasets.{name}")
    card = module.CARD
    about = f"### `{name}`\n\n{card.title}. {card.shapes}.\n"
    if not hasattr(module, "Options"):
        return about
    return f"{about}\n{_meaning(module.Options)}{_fields(module.Options)}"


def _model(name: str) -> str:
    module = importlib.import_module(f"s4core.models.{name}")
    common = [cls for cls in COMMON if issubclass(module.Config, cls)]
    also = ", of ".join(COMMON[cls] for cls in common)
    return (
        f"### `{name}`\n\n{_first_paragraph(module)}\n\n{_meanings(module.Config, common)}"
        f"Beside the fields of {also}:\n\n{_fields(module.Config, without=common)}"
    )


def _meaning(cls: type[Any]) -> str:
    """What the fields mean, if the class says so (a generated docstring says nothing)."""
    text = cls.__doc__ or ""
    is_written = text not in ("", "None.") and not text.startswith(f"{cls.__name__}(")
    return f"{_text(inspect.cleandoc(text))}\n\n" if is_written else ""


def _meanings(cls: type[Any], told: Iterable[type[Any]]) -> str:
    """What the fields of a class and of its bases mean, without what is told already."""
    known = {base for common in told for base in common.__mro__}
    return "".join(_meaning(base) for base in cls.__mro__ if base not in known)


def _section(title: str, cls: type[Any], *, level: int) -> str:
    """A class that is told by itself, without what it has of another such class."""
    without = [common for common in COMMON if issubclass(cls, common) and cls is not common]
    about = _meanings(cls, [object, *without])
    return f"{'#' * level} {title}\n\n{about}{_fields(cls, without=without)}"


def _first_paragraph(module: ModuleType) -> str:
    return _text((inspect.getdoc(module) or "").split("\n\n")[0])


def _text(text: str) -> str:
    """A docstring as Markdown: its indented lines are no code."""
    paragraphs = [" ".join(p.split()) for p in text.split("\n\n")]
    return "\n\n".join(p.replace("*", r"\*").replace("|", r"\|") for p in paragraphs)


def _fields(cls: type[Any], *, without: Iterable[type[Any]] = ()) -> str:
    hints = get_type_hints(cls)
    common = {f.name: f.default for base in without for f in dataclasses.fields(base)}
    rows = [
        f"| `{f.name}` | {_type(hints[f.name])} | {_default(f)} |"
        for f in dataclasses.fields(cls)
        if f.name not in common or f.default != common[f.name]
    ]
    if not rows:
        return "No options.\n"
    return "\n".join(["| field | type | default |", "|---|---|---|", *rows]) + "\n"


def _type(hint: Any) -> str:
    if hint is Any:
        return "a name, or a block"
    choices = [a for a in get_args(hint) if isinstance(a, str)]
    if choices and len(choices) == len(get_args(hint)):
        return ", ".join(choices)
    text = hint.__name__ if isinstance(hint, type) else str(hint)
    text = re.sub(r"\b[\w.]+\.(\w+)", r"\1", text)
    for word, plain in WORDS.items():
        text = re.sub(rf"\b{word}\b", plain, text)
    text = re.sub(r"tuple\[(.*?), \.\.\.\]", r"list of \1s", text)
    return text.replace("tuple", "").replace("|", "or")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return {"sampler": "tpe", "pruner": "none"}.get(field.name, "needed")
    shown = {None: "null", True: "true", False: "false", "": '""'}
    if isinstance(value, bool | str | None) and value in shown:
        return shown[value]
    return str(list(value)) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    main()
