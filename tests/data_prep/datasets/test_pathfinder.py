from __future__ import annotations

import numpy as np
import pytest

from data_prep import open_dataset

pytest.importorskip("numba", reason="the generator's optional dependency")

from data_prep.datasets import _snakes, _templates, pathfinder

FEW = {"train": 2000, "val": 10, "test": 10}


def open_few(home, **options):
    return open_dataset("pathfinder", {**FEW, **options}, home=home)


def column(dataset, name: str) -> np.ndarray:
    return dataset.parts["train"].gather(name, np.arange(FEW["train"]))


# Means over 20,000 images of an independent implementation, and the distances of the markers of
# images that are not connected, and that are.
PUBLISHED = {
    True: dict(
        mean=0.0791, std=0.2003, nonzero=0.341, bright=0.0849, placed=1.14, restarts=321,
        apart=12.7, connected=13.3,
    ),
    False: dict(
        mean=0.1087, std=0.2267, nonzero=0.451, bright=0.1100, placed=4.64, restarts=26,
        apart=12.5, connected=12.8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("quirk", [True, False])
def test_images_have_the_statistics_of_the_recipe(tmp_path, quirk):
    dataset = open_few(tmp_path, border_quirk=quirk)
    x = column(dataset, "x") / 255
    found = {
        "mean": x.mean(),
        "std": x.std(),
        "nonzero": (x > 0).mean(),
        "bright": (x > 127 / 255).mean(),
        "placed": column(dataset, "distractors").mean(),
        "restarts": column(dataset, "restarts").mean(),
        "apart": column(dataset, "distance")[column(dataset, "y") == 0].mean(),
        "connected": column(dataset, "distance")[column(dataset, "y") == 1].mean(),
    }
    # 2,000 images: standard errors of 2 % of the counts, of 1 % of the rest.
    for name, value in PUBLISHED[quirk].items():
        share = 0.08 if name in ("placed", "restarts") else 0.04
        assert found[name] == pytest.approx(value, rel=share), name
    assert abs(column(dataset, "y").mean() - 0.5) < 0.07


def test_the_quirk_forbids_most_angles_at_32_and_none_at_256():
    shares = {
        size: _templates.tables(level, level.margins[-1]).is_seedable.mean()
        for size, level in _templates.LEVELS.items()
    }
    assert shares[32] == 30 / 360
    assert shares[64] == pytest.approx(0.26, abs=0.01)
    assert min(shares[128], shares[256]) > 0.98


def test_a_label_says_whether_both_markers_are_ends_of_one_snake():
    """Seen in the pixels: with faint snakes the markers alone are bright."""
    t = _templates.tables(_templates.LEVELS[32], 1)
    recipe = _snakes.Recipe(32, 1, 7, 0, 14, 0.3, 1.0)
    seeds = _snakes.first_seeds(t, recipe)
    labels = []
    for seed in range(100):
        state = np.array([seed], np.uint64)
        picture, mask = np.zeros((2, 32, 32))
        snakes = np.zeros((2, 8), np.int64)
        _snakes.targets(picture, mask, t, recipe, seeds, False, state, snakes)
        pixels, label, *_ = _snakes.image(t, recipe, seeds, False, np.array([seed], np.uint64))
        tails, heads = snakes[:, 6:8], snakes[:, 4:6]
        marked = {
            (end, snake)
            for end, places in (("tail", tails), ("head", heads))
            for snake in (0, 1)
            if pixels[tuple(places[snake])] > 200
        }
        labels.append(label)
        if label:
            assert {("tail", 0), ("head", 0)} <= marked or {("tail", 1), ("head", 1)} <= marked
        else:
            assert {("tail", 0), ("head", 1)} <= marked or {("tail", 1), ("head", 0)} <= marked
        assert pixels.max() == 255 and pixels.min() == 0
    assert 30 < sum(labels) < 70


def test_a_shard_is_a_function_of_its_seed():
    def shard(**options) -> bytes:
        made = pathfinder.generate(pathfinder.Options(**options), "train", 3)
        return b"".join(row["x"].tobytes() for row, _ in zip(made, range(20), strict=False))

    assert shard() == shard() != shard(seed=1)


def test_the_random_stream_is_frozen():
    """The first numbers of splitmix64 from seed 0, as its author published them."""
    state = np.array([0], np.uint64)
    first = [int(_snakes.uniform(state) * 2**53) for _ in range(2)]
    assert first == [0xE220A8397B1DCDAF >> 11, 0x6E789E6AA1B965F4 >> 11]


def test_the_release_is_read_in_its_order(tmp_path):
    image_module = pytest.importorskip("PIL.Image", reason="reads the release's PNG files")
    level = tmp_path / "raw" / "pathfinder" / "pathfinder32" / "curv_contour_length_14"
    (level / "metadata").mkdir(parents=True)
    for table in (0, 10, 2):
        (level / "imgs" / str(table)).mkdir(parents=True)
        lines = []
        for i in range(10):
            pixels = np.full((32, 32), 10 * table + i, np.uint8)
            image_module.fromarray(pixels).save(level / "imgs" / str(table) / f"sample_{i}.png")
            lines.append(f"imgs/{table} sample_{i}.png {i} {i % 2} 1.0 14 4 2 0.5 1 1")
        (level / "metadata" / f"{table}.npy").write_text("\n".join(lines))
    dataset = open_dataset("pathfinder", {"source": "release"}, home=tmp_path)
    assert {n: s.rows for n, s in dataset.splits.items()} == {"train": 24, "val": 3, "test": 3}
    batch = next(dataset.batches("train", batch_size=24))
    values = np.round(batch.x[:, 0, 0] * 255).astype(int)
    assert (batch.y == values % 2).all() and len(set(values)) == 24
    centred = open_dataset("pathfinder", {"source": "release", "center": True}, home=tmp_path)
    assert centred.fingerprint == dataset.fingerprint
    np.testing.assert_allclose(
        next(centred.batches("train", batch_size=24)).x, 2 * batch.x - 1, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "mean", "std", "placed", "distances"),
    [
        ({"resolution": 64}, 0.0518, 0.1610, 2.5, (29, 32)),
        ({"resolution": 64, "border_quirk": False}, 0.0615, 0.1717, 4.6, (30, 32)),
        ({"resolution": 128}, 0.0310, 0.1400, 7.69, (73.8, 77.4)),
        ({"resolution": 256}, 0.0115, 0.0945, 7.0, (127, 123)),
    ],
    ids=str,
)
def test_larger_images_have_the_statistics_of_the_recipe(options, mean, std, placed, distances):
    """400 images against 200 to 1,500 of an independent implementation."""
    made = pathfinder.generate(pathfinder.Options(**options), "train", 0)
    rows = [row for row, _ in zip(made, range(400), strict=False)]
    x = np.stack([row["x"] for row in rows]) / 255
    label = np.array([row["y"] for row in rows])
    apart = np.array([row["distance"] for row in rows])
    assert x.mean() == pytest.approx(mean, rel=0.1)
    assert x.std() == pytest.approx(std, rel=0.06)
    assert np.mean([row["distractors"] for row in rows]) == pytest.approx(placed, rel=0.2)
    for k in (0, 1):
        assert apart[label == k].mean() == pytest.approx(distances[k], rel=0.12)
