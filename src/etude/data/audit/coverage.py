"""What the inputs are about: topics with their commonest and their most unusual rows.

Letters: N rows, D dimensions, C topics.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etude.data.audit.example import Example
from etude.data.audit.finding import Finding, Place, Spotted, excerpt

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST, MOST = 4, 24
ROWS_A_TOPIC = 40
SHOWN = 3
NAMED_BY = 3
WORD = re.compile(r"[^\W\d_]{3,}")
RESTARTS = 4


@dataclass(frozen=True)
class Topic:
    """Rows with inputs that are alike."""

    words: tuple[str, ...]
    """That tell it from the other topics."""
    rows: int
    place: tuple[float, float]
    """On a map where alike topics are near each other."""
    common: tuple[Place, ...]
    """The rows that are most like all of it."""
    edges: tuple[Place, ...]
    """Those that are least."""


@dataclass(frozen=True)
class Coverage:
    """All topics, the largest first."""

    topics: tuple[Topic, ...]
    edges: tuple[Place, ...]
    """The rows that are least like any topic."""


@dataclass(frozen=True)
class Clusters:
    """Which row belongs where."""

    topic_N: NDArray[np.intp]
    centres_CD: NDArray[np.float32]
    likeness_N: NDArray[np.float32]
    """Of each row with its topic's centre."""


def cluster(vectors: NDArray[np.float32], num_clusters: int, *, seed: int) -> Clusters:
    """K-means over unit vectors, the largest cluster first; 0: as many as suit the rows."""
    import numpy as np
    from scipy.cluster.vq import kmeans2

    wanted = num_clusters or max(FEWEST, min(MOST, round(math.sqrt(len(vectors) / ROWS_A_TOPIC) * 1.6)))
    wanted = max(1, min(wanted, len(vectors)))
    runs = [
        kmeans2(vectors, wanted, iter=25, minit="++", seed=np.random.default_rng(seed + at), missing="warn")
        for at in range(RESTARTS)
    ]
    centres, topic = min(runs, key=lambda run: float(((vectors - run[0][run[1]]) ** 2).sum()))
    kept, topic = np.unique(topic, return_inverse=True)
    order = np.argsort(-np.bincount(topic), kind="stable")
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    topic, centres = number[topic], centres[kept][order]
    centres = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-9)
    return Clusters(topic, centres.astype(np.float32), (vectors * centres[topic]).sum(axis=1))


def coverage(sample: Sequence[Example], clusters: Clusters) -> tuple[Coverage, list[Finding]]:
    """The topics, named and placed, and how unevenly they are filled."""
    import numpy as np

    words = topic_words([one.question for one in sample], clusters.topic_N)
    places = layout(clusters.centres_CD)
    topics = []
    for number, named in enumerate(words):
        rows = np.flatnonzero(clusters.topic_N == number)
        ranked = rows[np.argsort(-clusters.likeness_N[rows], kind="stable")]
        common, edges = _distinct(sample, ranked), _distinct(sample, ranked[::-1])
        topics.append(Topic(named, len(rows), places[number], common, edges))
    lonely = np.argsort(clusters.likeness_N, kind="stable")
    return Coverage(tuple(topics), _distinct(sample, lonely, most=8)), _thin(topics, sample, clusters)


def _thin(topics: Sequence[Topic], sample: Sequence[Example], clusters: Clusters) -> list[Finding]:
    """Topics with very few rows."""
    usual = len(sample) / max(1, len(topics))
    thin = [number for number, topic in enumerate(topics) if topic.rows < 0.1 * usual]
    spotted = Spotted()
    for one, number in zip(sample, clusters.topic_N.tolist(), strict=True):
        if number in thin:
            spotted.add(one.origin, f"{', '.join(topics[number].words)}: {one.question}")
    return spotted.finding(
        "thin-topics", "note", f"{len(thin)} of {len(topics)} topics hold {{rows}} together",
        advice="Edge cases: what is asked there a model has hardly seen. Collect more, or leave them out on purpose.",
    )  # fmt: skip


def _distinct(
    sample: Sequence[Example], ranked: Sequence[int] | NDArray[np.intp], most: int = SHOWN
) -> tuple[Place, ...]:
    """The first rows that do not read the same."""
    found: dict[str, Place] = {}
    for at in ranked:
        one = sample[int(at)]
        shown = excerpt(one.question)
        found.setdefault(shown.casefold(), Place(one.origin, shown))
        if len(found) == most:
            break
    return tuple(found.values())


def topic_words(texts: Sequence[str], topic_N: NDArray[np.intp]) -> list[tuple[str, ...]]:
    """For each topic the words that are far commoner in it than elsewhere, rare ones before words that all texts have.

    By z values of log-odds (Monroe et al. 2008, https://doi.org/10.1093/pan/mpn018).
    """
    num_topics = int(topic_N.max()) + 1
    inside: list[Counter[str]] = [Counter() for _ in range(num_topics)]
    for text, topic in zip(texts, topic_N.tolist(), strict=True):
        inside[topic].update(set(WORD.findall(text.casefold())))
    everywhere = sum(inside, Counter[str]())
    named: list[tuple[str, ...]] = []
    for counted in inside:
        size, rest = sum(counted.values()), everywhere.total() - sum(counted.values())

        def telling(word: str, counted: Counter[str] = counted, size: int = size, rest: int = rest) -> float:
            here, there = counted[word], everywhere[word] - counted[word]
            odds = math.log((here + 0.5) / (size - here + 0.5)) - math.log((there + 0.5) / (rest - there + 0.5))
            return odds / math.sqrt(1 / (here + 0.5) + 1 / (there + 0.5)) * math.log(len(texts) / everywhere[word])

        named.append(tuple(sorted(counted, key=lambda word: (-telling(word), word))[:NAMED_BY]))
    return named


def layout(centres_CD: NDArray[np.float32]) -> list[tuple[float, float]]:
    """Places on a map: classical scaling (Torgerson 1952) of the centres' distances, within the unit square."""
    import numpy as np

    count = len(centres_CD)
    if count < 3:
        return [(float(at), 0.5) for at in range(count)]
    distances = 1 - centres_CD @ centres_CD.T
    centring = np.eye(count) - 1 / count
    values, axes = np.linalg.eigh(-0.5 * centring @ distances @ centring)
    flat = axes[:, -2:][:, ::-1] * np.sqrt(np.maximum(values[-2:][::-1], 1e-9))
    span = np.maximum(np.ptp(flat, axis=0), 1e-9)
    ranks = flat.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable") / (count - 1)
    # Half by rank: one topic far from all others would press those together.
    return [(float(x), float(y)) for x, y in ((flat - flat.min(axis=0)) / span + ranks) / 2]
