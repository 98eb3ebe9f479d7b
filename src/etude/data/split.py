"""Held-out rows: by group, the same for the same content and seed, with copies never on both sides."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from etude.data.fingerprint import WORDS, Prints, fingerprint
from etude.data.read import Records
from etude.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["duplicates", "fingerprint", "split"]


def split(records: Records, holdout: float, *, seed: int) -> tuple[Records, Records]:
    """(training rows, held-out rows), each in the file's order, about `holdout` of the rows held out.

    Rows of one group stay together, and so do rows that are the same but for case and white space. A pure function of
    content and seed: neither the order of the rows nor their file names matter. DataError if everything is one group.

    Rows that were made from others (`augmented_from`) are never held out: those of a held-out parent are in neither
    part, the others are in training.
    """
    if not holdout:
        return records, records.only(np.zeros(len(records), dtype=bool))
    prints = records.prints()
    records = replace(records, known_prints=prints)
    labels = _clusters(prints)
    made = np.zeros(len(records), dtype=bool) if prints.made is None else prints.made
    sizes = np.bincount(labels[~made], minlength=int(labels.max()) + 1)
    num_rows = int(sizes.sum())
    if np.count_nonzero(sizes) < 2:
        alike = f"the {len(records):,} rows are copies of one another or one group"
        found = f"{alike if len(records) > 1 else 'there is a single row'}, so none can be held out"
        raise DataError(found, where=", ".join(records.sources), remedy="set holdout to 0 or to a file of its own")
    ordered = _drawn(labels, prints, made, seed)
    wanted = max(1, round(holdout * num_rows))
    most = min(wanted * 1.1, num_rows - 1)
    is_held = np.zeros(len(sizes), dtype=bool)
    num_held = 0
    for cluster in ordered:
        if num_held >= wanted:
            break
        if num_held + sizes[cluster] <= most:
            is_held[cluster] = True
            num_held += int(sizes[cluster])
    if not num_held:
        is_held[ordered[np.argmin(sizes[ordered])]] = True
    held = is_held[labels]
    return records.only(~held), records.only(held & ~made)


def duplicates(train: Records, heldout: Records) -> tuple[int, int]:
    """(rows of `train` that repeat an earlier one, rows of `heldout` also in `train`), but for case and white space."""
    ours, theirs = train.prints(), heldout.prints()
    both = Prints(np.concatenate([ours.words, theirs.words]), np.concatenate([ours.groups, theirs.groups]))
    labels = both.labels()
    is_known = np.zeros(len(both) + 1, dtype=bool)
    is_known[labels[: len(train)]] = True
    return len(train) - int(is_known.sum()), int(is_known[labels[len(train) :]].sum())


def _clusters(prints: Prints) -> NDArray[np.intp]:
    """For each row the number of the cluster that it belongs to, by content and by group."""
    labels = prints.labels()
    grouped = np.flatnonzero(prints.groups)
    if not len(grouped):
        return labels
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, groups = np.unique(prints.groups[grouped], return_inverse=True)
    contents = int(labels.max()) + 1
    size = contents + int(groups.max()) + 1
    edges = (np.ones(len(grouped), dtype=np.int8), (labels[grouped], contents + groups))
    _, joined = connected_components(coo_array(edges, shape=(size, size)), directed=False)
    found: NDArray[np.intp] = np.unique(joined[labels], return_inverse=True)[1]
    return found


def _drawn(labels: NDArray[np.intp], prints: Prints, made: NDArray[np.bool_], seed: int) -> NDArray[np.intp]:
    """The clusters in the order in which they are drawn: by a hash of the seed and of the smallest hash in each.

    Rows made from others do not count, so a data set is divided in the same way before and after augmentation.
    """
    order = prints.in_order()
    order = order[~made[order]]
    clusters, first = np.unique(labels[order], return_index=True)
    digests = b"".join(sha256(f"{seed}:{prints.hexdigest(at)}".encode()).digest() for at in order[first])
    ranks = np.frombuffer(digests, dtype=">u8").astype(np.uint64).reshape(-1, WORDS)
    found: NDArray[np.intp] = clusters[np.lexsort((ranks[:, 1], ranks[:, 0]))]
    return found
