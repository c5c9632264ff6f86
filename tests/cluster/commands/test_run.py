"""`s4sweep run` of a name that is taken: only a beginning that came to nothing gives way."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.commands.run import gives_way
from sweeps import Study, SweepLock, SweepLocked, SweepSpec, load_spec, sweep_names


def spec_of(folder: Path, raw: str) -> SweepSpec:
    path = folder / "mine.yaml"
    path.write_text(
        f"data: {{name: csv_series, raw: {raw}}}\nmodel: {{name: s4d}}\nsearch: {{trials: 1}}\n"
    )
    return load_spec(path)


def test_a_mended_file_takes_the_name_of_a_sweep_that_never_began(tmp_path: Path) -> None:
    """Its data were not where it said; the name is the user's, not the mistake's."""
    wrong = spec_of(tmp_path, "nowhere")
    study = Study.create(wrong, tmp_path)
    assert not gives_way(wrong, tmp_path)  # `resume` is the way to go on with the same file
    mended = spec_of(tmp_path, "waves")
    with SweepLock(study.folder), pytest.raises(SweepLocked):
        gives_way(mended, tmp_path)
    assert gives_way(mended, tmp_path)
    assert "mine" not in sweep_names(tmp_path)
    assert Study.create(mended, tmp_path).spec.data["raw"].endswith("waves")


def test_a_sweep_with_a_trial_keeps_its_name(tmp_path: Path) -> None:
    study = Study.create(spec_of(tmp_path, "here"), tmp_path)
    study.ask()
    assert not gives_way(spec_of(tmp_path, "there"), tmp_path)
    assert Study.open("mine", tmp_path).spec.data["raw"].endswith("/here")
