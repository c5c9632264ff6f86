"""Splits as explicit row numbers, equal to those of the libraries that published results used.

Both torch's and scikit-learn's generators are the Mersenne twister, whose stream numpy's legacy
RandomState keeps for ever; so neither library is needed, and neither can change a split.
"""

from __future__ import annotations

import numpy as np


def torch_permutation(rows: int, seed: int) -> np.ndarray:
    """Return torch.randperm(rows, generator=Generator().manual_seed(seed)), int64."""
    draws = np.random.RandomState(seed).randint(0, 1 << 32, size=rows, dtype=np.uint32)
    order = list(range(rows))
    for i, draw in enumerate(draws[:-1].tolist()):
        j = i + draw % (rows - i)
        order[i], order[j] = order[j], order[i]
    return np.array(order, dtype=np.int64)


def torch_split(rows: int, held_out: int, seed: int = 42) -> tuple[np.ndarray, np.ndarray]:
    """Return what torch's random_split gives for [rows - held_out, held_out]."""
    order = torch_permutation(rows, seed)
    return order[: rows - held_out], order[rows - held_out :]


def per_class(labels: np.ndarray, counts: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, ...]:
    """Draw, of every class, `counts[i]` rows for part i; return each part's rows, shuffled.

    Raises ValueError where a class has fewer rows than sum(counts).
    """
    random = np.random.RandomState(seed)
    parts: list[list[np.ndarray]] = [[] for _ in counts]
    for value in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == value))
        if len(rows) < sum(counts):
            raise ValueError(f"class {value} has {len(rows)} rows, need {sum(counts)}.")
        for part, rows_of_part in zip(parts, np.split(rows, np.cumsum(counts)), strict=False):
            part.append(rows_of_part)
    return tuple(random.permutation(np.concatenate(part)) for part in parts)


def random_folds(
    groups: np.ndarray, shares: tuple[float, float], seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of train, val and test; all rows of a group are in the same part.

    shares: of val and test. Groups are drawn at random until a part has its share of the rows.
    Raises ValueError when a part would be empty.
    """
    names, owner, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.RandomState(seed).permutation(len(names))
    before = np.concatenate([[0], np.cumsum(sizes[order])[:-1]]) / len(groups)
    fold_of = np.empty(len(names), np.int64)
    fold_of[order] = np.where(before < shares[1], 2, np.where(before < sum(shares), 1, 0))
    folds = tuple(np.flatnonzero(fold_of[owner] == k) for k in range(3))
    if not all(len(rows) for rows in folds):
        raise ValueError(f"{len(names)} groups are too few for shares {shares} of val and test.")
    return folds[0], folds[1], folds[2]


def sklearn_split(
    rows: int, held_out: int, seed: int, labels: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return scikit-learn's train_test_split of 0 .. rows - 1, in its order.

    labels: (rows,), to stratify by. Sizes are rows - held_out and held_out.
    """
    random = np.random.RandomState(seed)
    if labels is None:
        order = random.permutation(rows)
        return order[held_out:], order[:held_out]
    counts = np.unique(labels, return_counts=True)[1]
    kept = _shares(counts, rows - held_out, random)
    rest = _shares(counts - kept, held_out, random)
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    train, test = [], []
    for members, of_train, of_test in zip(by_class, kept, rest, strict=True):
        shuffled = members[random.permutation(len(members))]
        train.append(shuffled[:of_train])
        test.append(shuffled[of_train : of_train + of_test])
    return random.permutation(np.concatenate(train)), random.permutation(np.concatenate(test))


def _shares(counts: np.ndarray, draws: int, random: np.random.RandomState) -> np.ndarray:
    """Share `draws` among classes of sizes `counts`: largest remainders first, ties by lot."""
    exact = counts / counts.sum() * draws
    shares = np.floor(exact)
    remainders = exact - shares
    missing = int(draws - shares.sum())
    for value in np.unique(remainders)[::-1]:
        if missing == 0:
            break
        (tied,) = np.where(remainders == value)
        lucky = random.choice(tied, size=min(len(tied), missing), replace=False)
        shares[lucky] += 1
        missing -= len(lucky)
    return np.asarray(shares, np.int64)
