"""Held-out rows: by group, the same for the same content and seed, with copies never on both sides."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

from etude.data.read import Records
from etude.errors import DataError
from etude.records import Conversation, Exchange, Judged, Message, Preference, Prompt, Record, Text


def split(records: Records, holdout: float, *, seed: int) -> tuple[Records, Records]:
    """(training rows, held-out rows), each in the file's order, about `holdout` of the rows held out.

    Rows of one group stay together, and so do rows that are the same but for case and white space. A pure function of
    content and seed: neither the order of the rows nor their file names matter. DataError if everything is one group.
    """
    if not holdout:
        return records, replace(records, rows=())
    prints = [fingerprint(record) for record in records]
    clusters = _clusters(records, prints)
    if len(clusters) < 2:
        alike = f"the {len(records):,} rows are copies of one another or one group"
        found = f"{alike if len(records) > 1 else 'there is a single row'}, so none can be held out"
        raise DataError(found, where=", ".join(records.sources), remedy="set holdout to 0 or to a file of its own")
    ordered = sorted(clusters, key=lambda cluster: _rank(cluster, prints, seed))
    wanted = max(1, round(holdout * len(records)))
    most = min(wanted * 1.1, len(records) - 1)
    held: set[int] = set()
    for cluster in ordered:
        if len(held) >= wanted:
            break
        if len(held) + len(cluster) <= most:
            held.update(cluster)
    if not held:
        smallest: list[int] = min(ordered, key=len)
        held = set(smallest)
    rows = list(enumerate(records.rows))
    return (
        replace(records, rows=tuple(row for at, row in rows if at not in held)),
        replace(records, rows=tuple(row for at, row in rows if at in held)),
    )


def fingerprint(record: Record) -> str:
    """The same for rows that differ only in case and white space (and in where they came from)."""
    return sha256(_content(record).encode()).hexdigest()


def duplicates(train: Sequence[Record], heldout: Sequence[Record]) -> tuple[int, int]:
    """(rows of `train` that repeat an earlier one, rows of `heldout` also in `train`), but for case and white space."""
    counted = Counter(fingerprint(record) for record in train)
    return counted.total() - len(counted), sum(fingerprint(record) in counted for record in heldout)


def _normal(text: str) -> str:
    return " ".join(text.casefold().split())


def _content(record: Record) -> str:
    if isinstance(record, Text):
        return _normal(record.text)
    parts: list[tuple[Message, ...]] = []
    extra = ""
    match record:
        case Conversation():
            parts, extra = [record.messages], "".join(record.tools)
        case Preference():
            parts = [record.prompt, record.chosen, record.rejected]
        case Judged():
            parts, extra = [record.prompt, record.answer], str(record.judgement)
        case Prompt():
            parts, extra = [record.messages], record.reference or ""
        case Exchange():
            parts = [record.prompt, record.answer]
    said = [
        [[message.role, _normal(message.text), str(message.tool_calls or "")] for message in part] for part in parts
    ]
    return json.dumps([said, _normal(extra)], ensure_ascii=False)


def _clusters(records: Records, prints: Sequence[str]) -> list[list[int]]:
    """Indices of the rows that belong together, by group or by content (union-find)."""
    parent = list(range(len(records)))

    def root(at: int) -> int:
        while parent[at] != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    first: dict[tuple[str, str], int] = {}
    for at, record in enumerate(records):
        keys = [("content", prints[at])]
        if record.group is not None:
            keys.append(("group", record.group))
        for key in keys:
            parent[root(at)] = root(first.setdefault(key, at))
    clusters: dict[int, list[int]] = {}
    for at in range(len(records)):
        clusters.setdefault(root(at), []).append(at)
    return list(clusters.values())


def _rank(cluster: Sequence[int], prints: Sequence[str], seed: int) -> str:
    smallest = min(prints[at] for at in cluster)
    return sha256(f"{seed}:{smallest}".encode()).hexdigest()
