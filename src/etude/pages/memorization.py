"""What a model recites of its training rows, where somebody asked it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etude.evaluation.memorization import Memorization, Share
from etude.pages.run_files import RunFiles
from etude.pages.wording import interval, number


@dataclass(frozen=True)
class Recited:
    """One way to recite, in training rows and in rows that were never seen."""

    name: str
    train: str
    train_interval: str
    heldout: str
    heldout_interval: str


@dataclass(frozen=True)
class Secret:
    """A planted secret."""

    repeats: int
    sampled: str
    extrapolated: str
    extracted: str


@dataclass(frozen=True)
class MemorizationSection:
    """What the page shows of it."""

    answer: str
    is_bad: bool
    rows: tuple[Recited, ...]
    secrets: tuple[Secret, ...]


def memorization_section(run: RunFiles) -> MemorizationSection | None:
    """None where nobody asked, or what was written down cannot be read."""
    try:
        found = Memorization.from_dict(run.memorization["memorization"])
        secrets = tuple(map(_secret, run.memorization["exposures"]))
    except (KeyError, TypeError):
        return None
    sentence = found.sentence()
    told = sum(bool(one["extracted"]) for one in run.memorization["exposures"])
    beside = f"; {told} of {len(secrets)} planted secrets are written when asked" if secrets else ""
    return MemorizationSection(
        answer=sentence[0].upper() + sentence[1:] + beside,
        is_bad=found.memorizes or told > 0,
        rows=(
            _row("continued word for word", found.verbatim_train, found.verbatim_heldout),
            _row("hold eight tokens in a row of another answer", found.copied_train, found.copied_heldout),
        ),
        secrets=secrets,
    )


def _row(name: str, train: Share, heldout: Share) -> Recited:
    cells = [cell for share in (train, heldout) for cell in (f"{share.count} of {share.of}", _ends(share))]
    return Recited(name, *cells)


def _ends(share: Share) -> str:
    return interval(*share.interval, is_share=True) if share.of else ""


def _secret(held: Mapping[str, Any]) -> Secret:
    return Secret(
        repeats=int(held["canary"]["repeats"]),
        sampled=number(float(held["sampled"])),
        extrapolated=number(float(held["extrapolated"])),
        extracted="yes" if held["extracted"] else "no",
    )
