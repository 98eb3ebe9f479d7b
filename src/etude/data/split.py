"""Which rows go where: by group, the same for the same content and seed, with copies never on two sides."""

from __future__ import annotations

from collections.abc import Sequence
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


def split(
    records: Records, holdout: float, *, seed: int, near: NDArray[np.int64] | None = None
) -> tuple[Records, Records]:
    """(training rows, held-out rows), each in the file's order, about `holdout` of the rows held out.

    Rows of one group stay together, and so do rows that are the same but for case and white space, and the pairs of
    rows in `near` (by their places). A pure function of content and seed: neither the order of the rows nor their file
    names matter. DataError if everything is one group, or the share is none.

    Rows that were made from others (`augmented_from`) are never held out: those of a held-out parent are in neither
    part, the others are in training.
    """
    where = ", ".join(records.sources)
    if not 0 <= holdout < 1:
        remedy = "give a share from 0 up to but below 1, or a file of its own"
        raise DataError(f"holdout is a share of the rows, got {holdout:g}", where=where, remedy=remedy)
    if not holdout:
        return records, records.only(np.zeros(len(records), dtype=bool))
    prints = records.prints()
    records = replace(records, known_prints=prints)
    labels = clusters(prints, near)
    made = np.zeros(len(records), dtype=bool) if prints.made is None else prints.made
    sizes = np.bincount(labels[~made], minlength=int(labels.max()) + 1)
    num_rows = int(sizes.sum())
    if np.count_nonzero(sizes) < 2:
        alike = f"the {len(records):,} rows are copies of one another or one group"
        found = f"{alike if len(records) > 1 else 'there is a single row'}, so none can be held out"
        remedy = "set holdout to 0 or to a file of its own"
        if near is not None and len(near):
            remedy += ", or near_copies to 0"
        raise DataError(found, where=where, remedy=remedy)
    ordered = drawn(labels, prints, seed, made=made)
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


def clusters(prints: Prints, near: NDArray[np.int64] | None = None) -> NDArray[np.intp]:
    """For each row the number of the cluster that it belongs to: by content, by group, by the pairs `near` of rows."""
    labels = prints.labels()
    grouped = np.flatnonzero(prints.groups)
    if not len(grouped) and (near is None or not len(near)):
        return labels
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    _, groups = np.unique(prints.groups[grouped], return_inverse=True)
    contents = int(labels.max()) + 1
    size = contents + (int(groups.max()) + 1 if len(groups) else 0)
    one, other = labels[grouped], contents + groups
    if near is not None:
        one, other = np.append(one, labels[near[:, 0]]), np.append(other, labels[near[:, 1]])
    edges = (np.ones(len(one), dtype=np.int8), (one, other))
    _, joined = connected_components(coo_array(edges, shape=(size, size)), directed=False)
    found: NDArray[np.intp] = np.unique(joined[labels], return_inverse=True)[1]
    return found


def drawn(
    labels: NDArray[np.intp], prints: Prints, seed: int, *, made: NDArray[np.bool_] | None = None
) -> NDArray[np.intp]:
    """The clusters in the order in which they are drawn: by a hash of the seed and of the smallest hash in each.

    Rows `made` from others do not count, so a data set is divided in the same way before and after augmentation.
    """
    order = prints.in_order()
    if made is not None:
        order = order[~made[order]]
    numbers, first = np.unique(labels[order], return_index=True)
    digests = b"".join(sha256(f"{seed}:{prints.hexdigest(at)}".encode()).digest() for at in order[first])
    ranks = np.frombuffer(digests, dtype=">u8").astype(np.uint64).reshape(-1, WORDS)
    found: NDArray[np.intp] = numbers[np.lexsort((ranks[:, 1], ranks[:, 0]))]
    return found


def assign(
    labels: NDArray[np.intp],
    drawn_clusters: NDArray[np.intp],
    shares: Sequence[float],
    *,
    strata: NDArray[np.intp] | None = None,
    counted: NDArray[np.bool_] | None = None,
) -> NDArray[np.intp]:
    """For each row the part that it goes to: whole clusters, parts as near to their shares as these allow.

    Shares are of the rows that are `counted`, all of them unless given.

    With `strata`, a number for each row, the shares hold within each stratum as well as they can; a cluster counts for
    the one that most of its rows are of. Large clusters are placed first, each where most is missing.
    """
    sizes = np.bincount(labels if counted is None else labels[counted], minlength=int(labels.max()) + 1)
    stratum_of = np.zeros(len(sizes), dtype=np.intp) if strata is None else _majority(labels, strata)
    totals = np.bincount(stratum_of, weights=sizes)
    missing = [[share * total for share in shares] for total in totals.tolist()]
    missing_everywhere = [share * int(sizes.sum()) for share in shares]
    part_of = np.empty(len(sizes), dtype=np.intp)
    for cluster in drawn_clusters[np.argsort(-sizes[drawn_clusters], kind="stable")].tolist():
        here, size = missing[stratum_of[cluster]], int(sizes[cluster])
        wanted = [at for at, share in enumerate(shares) if share]
        chosen = max(wanted, key=lambda at: (round(here[at], 6), missing_everywhere[at], -at))
        here[chosen] -= size
        missing_everywhere[chosen] -= size
        part_of[cluster] = chosen
    found: NDArray[np.intp] = part_of[labels]
    return found


def assign_by_time(labels: NDArray[np.intp], times: NDArray[np.float64], shares: Sequence[float]) -> NDArray[np.intp]:
    """For each row the part that it goes to, the oldest rows to the first; a cluster goes where its oldest row goes."""
    order = np.lexsort((labels, times))
    sizes = np.bincount(labels)
    _, first = np.unique(labels[order], return_index=True)
    by_age = np.argsort(first, kind="stable")
    before = np.cumsum(sizes[by_age]) - sizes[by_age]
    bounds = np.cumsum(shares)[:-1] * len(labels)
    part_of = np.empty(len(sizes), dtype=np.intp)
    part_of[by_age] = np.searchsorted(np.round(bounds, 6), before, side="right")
    found: NDArray[np.intp] = part_of[labels]
    return found


def _majority(labels: NDArray[np.intp], strata: NDArray[np.intp]) -> NDArray[np.intp]:
    """For each cluster the stratum of most of its rows; of several the smallest."""
    width = int(strata.max()) + 1
    keys, counts = np.unique(labels.astype(np.int64) * width + strata, return_counts=True)
    cluster, stratum = np.divmod(keys, width)
    order = np.lexsort((stratum, -counts, cluster))
    _, first = np.unique(cluster[order], return_index=True)
    found: NDArray[np.intp] = stratum[order[first]].astype(np.intp)
    return found
