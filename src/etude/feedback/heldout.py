"""Held-out people: judgements divided so that nobody who is learned from is measured on, and no prompt is in both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256

from etude.errors import DataError
from etude.feedback.judgements import Judgement, key_of


def held_out(
    judgements: Sequence[Judgement], share: float, *, seed: int
) -> tuple[list[Judgement], list[Judgement], list[Judgement]]:
    """(to learn from, held out, left out), each in the order of the file.

    Annotators are drawn until about `share` of the judgements are theirs. A prompt that people of both sides judged
    goes to one side, and what the other said of it is left out. DataError where a side would have nobody.
    """
    people = _drawn(judgements, share, seed)
    sides: dict[str, set[bool]] = {}
    keys = [key_of(one.prompt) for one in judgements]
    for key, one in zip(keys, judgements, strict=True):
        sides.setdefault(key, set()).add(one.annotator in people)
    goes_out = {key: _unit(seed, key) < share if len(both) > 1 else both == {True} for key, both in sides.items()}
    train: list[Judgement] = []
    heldout: list[Judgement] = []
    left_out: list[Judgement] = []
    for key, one in zip(keys, judgements, strict=True):
        is_out = one.annotator in people
        (left_out if goes_out[key] != is_out else heldout if is_out else train).append(one)
    if not train or not heldout:
        raise DataError(
            "no judgement would be left on one side: the same few prompts were judged by everybody",
            remedy="hold out another share, or another seed",
        )
    return train, heldout, left_out


def _drawn(judgements: Iterable[Judgement], share: float, seed: int) -> set[str]:
    """The annotators to hold out."""
    numbers = Counter(one.annotator for one in judgements)
    if len(numbers) < 2:
        raise DataError(
            f"all judgements are by {next(iter(numbers), 'nobody')}, so no annotator can be held out",
            remedy="hold out rows instead, with data.holdout in the run file",
        )
    order = sorted(numbers, key=lambda name: _unit(seed, name))
    wanted, people = share * numbers.total(), set[str]()
    for name in order[:-1]:
        taken = sum(numbers[other] for other in people)
        if people and taken + numbers[name] / 2 > wanted:
            break
        people.add(name)
    return people


def _unit(seed: int, name: str) -> float:
    """A number from 0 to 1 that depends on the seed and the name alone."""
    return int.from_bytes(sha256(f"{seed}:{name}".encode()).digest()[:8]) / 2**64
