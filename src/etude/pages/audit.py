"""An audit of data as one self-contained HTML page: what to mend first, then pictures of what the data is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from etude import durable
from etude.data.audit.audit import Audit
from etude.data.audit.coverage import Topic
from etude.data.audit.finding import Finding, Place
from etude.data.audit.labels import ANSWER
from etude.data.audit.languages import UNKNOWN
from etude.pages import audit_figures as figures
from etude.pages.report import environment_of_pages
from etude.pages.svg import Draw, picture
from etude.pages.verdicts import Tile
from etude.pages.wording import number, percent

if TYPE_CHECKING:
    from markupsafe import Markup

SHOWN_PLACES = 12
SHOWN_LABELS = 4
SHOWN_RATES = 14
SHOWN_TOPICS = 24
TONES = {"error": "bad", "warning": "unsure", "note": "none"}


@dataclass(frozen=True)
class Card:
    """A finding on the page."""

    finding: Finding
    tone: str
    places: tuple[Place, ...]
    more: int


@dataclass(frozen=True)
class Picture:
    """One drawing for wide screens and one for narrow ones."""

    wide: Markup
    narrow: Markup
    caption: str = ""


@dataclass(frozen=True)
class Shares:
    """Parts of a whole as a bar."""

    name: str
    parts: tuple[tuple[str, int, float], ...]
    """(name, rows, share of 1)."""


@dataclass(frozen=True)
class LabelSection:
    title: str
    sentence: str
    picture: Picture
    noise: str
    mixed: tuple[tuple[str, str, int], ...]


def write_audit(audit: Audit, path: Path) -> None:
    """Writes the page."""
    durable.write_text(path, render_audit(audit, made=datetime.now(UTC)))


def render_audit(audit: Audit, *, made: datetime) -> str:
    """The page's HTML. Whatever comes from rows is escaped, and its control characters are written out."""
    return environment_of_pages().get_template("audit.html.jinja").render(
        audit=audit,
        title=" + ".join(Path(file).name for file in audit.files[:3]) + (" + …" if len(audit.files) > 3 else ""),
        made=f"{made:%Y-%m-%d %H:%M} UTC",
        version=version("etude"),
        headline=headline(audit),
        tone=TONES[audit.findings[0].severity] if audit.findings and audit.findings[0].severity != "note" else "good",
        tiles=tiles(audit),
        cards=cards(audit.findings),
        lengths=_lengths(audit),
        labels=_labels(audit),
        topics=audit.coverage.topics[:SHOWN_TOPICS] if audit.coverage else (),
        topic_map=_topic_map(audit.coverage.topics) if audit.coverage else None,
        shares=_shares(audit),
        groups=_groups(audit),
        production=_production(audit),
        production_words=_production_words(audit),
    )  # fmt: skip


def headline(audit: Audit) -> str:
    """What to think of the data, in a sentence."""
    errors, warnings = audit.count("error"), audit.count("warning")
    if errors:
        also = f", and {_several(warnings, 'warning')} to look at" if warnings else ""
        return f"{_several(errors, 'error')} to mend before training{also}"
    if warnings:
        return f"Can be trained on; {_several(warnings, 'warning')} to look at first"
    return "Nothing stands in the way of training"


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def tiles(audit: Audit) -> tuple[Tile, ...]:
    """The data in a few numbers."""
    made = [
        Tile("rows", f"{audit.rows:,}", f"{audit.unusable:,} more cannot be used" if audit.unusable else "all usable")
    ]
    if audit.lengths is not None:
        spread, limit = audit.lengths.total, audit.lengths.max_tokens
        learned = audit.lengths.num_learned / audit.lengths.num_tokens
        made += [
            Tile("tokens", _short(audit.lengths.num_tokens), f"{percent(learned, 0)} of them learned"),
            Tile("tokens of a row", f"{spread.quantiles[3]:,}", f"median; the longest {spread.quantiles[-1]:,}"),
            Tile("over the limit", f"{audit.lengths.over:,}", f"rows of more than {limit:,} tokens"),
        ]  # fmt: skip
    twice = audit.duplicates
    made.append(Tile("copies", f"{twice.exact:,}", f"and {twice.near:,} near copies of earlier rows"))
    for table in audit.labels[:1]:
        made.append(Tile("labels", f"{len(table.counts):,}", f"as unequal as {number(table.effective)} equal ones"))
    for noise in audit.noise[:1]:
        if noise.is_conclusive:
            made.append(Tile("labels in doubt", f"{noise.likely_wrong:,}", percent(noise.likely_wrong / noise.rows)))
    held = sum(count for _, count in audit.privacy.kinds)
    kinds = ", ".join(kind for kind, _ in audit.privacy.kinds[:3])
    made.append(Tile("personal data, secrets", f"{held:,}", f"rows with {kinds}" if kinds else "rows; none was found"))
    known = [name for name, _ in audit.languages.questions if name != UNKNOWN]
    made.append(Tile("languages", f"{len(known):,}", f"mostly {known[0]}" if known else "texts are too short to tell"))
    return tuple(made)


def _short(count: int) -> str:
    """12,345 as it is; millions with one place."""
    return f"{count:,}" if count < 1_000_000 else f"{count / 1e6:,.1f} M"


def cards(findings: Sequence[Finding]) -> tuple[Card, ...]:
    """The findings with their first rows."""
    return tuple(
        Card(finding, TONES[finding.severity], finding.places[:SHOWN_PLACES], max(0, finding.rows - SHOWN_PLACES))
        for finding in findings
    )


def _both(draw: Draw, name: str, alt: str, *, height: int, narrow: int | None = None, caption: str = "") -> Picture:
    return Picture(
        picture(draw, name=f"{name}-wide", alt=alt, width=1000, height=height),
        picture(draw, name=f"{name}-narrow", alt=alt, width=380, height=narrow or height),
        caption,
    )


def _lengths(audit: Audit) -> Picture | None:
    if audit.lengths is None:
        return None
    whole = audit.lengths.total.quantiles
    alt = f"Tokens of a row: from {whole[0]:,} to {whole[-1]:,}, half of the rows below {whole[3]:,}"
    return _both(figures.lengths(audit.lengths), "lengths", alt, height=320, narrow=300)


def _labels(audit: Audit) -> tuple[LabelSection, ...]:
    noise = {table.name: table for table in audit.noise}
    made = []
    for at, table in enumerate(audit.labels[:SHOWN_LABELS]):
        commonest, rarest = table.counts[0], table.counts[-1]
        sentence = (
            f"{len(table.counts):,} labels over {table.rows:,} rows: from {commonest[1]:,} ({commonest[0]}) to "
            f"{rarest[1]:,} ({rarest[0]}). By entropy as many as {number(table.effective)} equally common ones."
        )
        many = len(table.counts) > figures.MOST_BARS
        height = 300 if many else 70 + 27 * len(table.counts)
        draw = figures.labels(table, rare=audit.options.rare_rows)
        found = noise.get(table.name)
        said = "" if found is None else (
            f"A classifier that never saw a row gives its label back in {percent(found.accuracy)} of them (always the "
            f"commonest: {percent(found.guessing)}). "
            + (f"{found.likely_wrong:,} labels are in doubt." if found.is_conclusive else "Too few to doubt a label.")
        )  # fmt: skip
        made.append(LabelSection(
            "The answer" if table.name == ANSWER else f"The field “{table.name}”", sentence,
            _both(draw, f"labels-{at}", sentence, height=height), said, found.mixed if found else (),
        ))  # fmt: skip
    return tuple(made)


def _topic_map(topics: Sequence[Topic]) -> Picture:
    alt = "Topics: " + "; ".join(f"{', '.join(topic.words)} ({topic.rows:,} rows)" for topic in topics)
    return Picture(
        picture(figures.topic_map(topics, width=1000, height=620), name="topics-wide", alt=alt, width=1000, height=620),
        picture(
            figures.topic_map(topics[:12], width=380, height=560), name="topics-narrow", alt=alt, width=380, height=560
        ),
    )


def _shares(audit: Audit) -> tuple[Shares, ...]:
    """Languages and forms, where there is more than one to tell apart."""
    found = [("language of the inputs", audit.languages.questions)]
    if audit.answers is not None:
        found += [("language of the answers", audit.languages.answers), ("form of the answers", audit.answers.forms)]
        found += [("shape of the JSON answers", audit.answers.shapes)] if audit.answers.shapes else []
        found += [("how answers begin", audit.answers.openings)] if audit.answers.openings else []
    made = []
    for name, counts in found:
        total = (
            audit.answers.rows if name == "how answers begin" and audit.answers else sum(count for _, count in counts)
        )
        made.append(Shares(name, tuple((part, count, count / total) for part, count in counts[:8])))
    return tuple(made)


def _groups(audit: Audit) -> Picture | None:
    if audit.groups is None:
        return None
    shown = audit.groups.rates[:SHOWN_RATES]
    alt = "; ".join(
        f"{rate.group} {rate.value}: {percent(rate.share)}, others {percent(rate.other_share)}" for rate in shown[:6]
    )
    caption = (
        "Points with 95 % intervals are the group’s rate, the upright lines everybody else’s; "
        "orange differs by more than chance."
    )
    return _both(figures.rates(shown), "groups", alt, height=70 + 30 * len(shown), caption=caption)


def _production(audit: Audit) -> tuple[Picture, ...]:
    if audit.production is None:
        return ()
    made = []
    for at, (name, ones) in enumerate((("topics", audit.production.topics), ("languages", audit.production.languages))):
        if len(ones) > 1:
            alt = "; ".join(
                f"{one.name}: training {percent(one.training)}, production {percent(one.production)}" for one in ones
            )
            caption = f"{name.capitalize()}; those in bold differ by more than chance"
            made.append(
                _both(figures.compared(ones), f"production-{at}", alt, height=80 + 28 * len(ones), caption=caption)
            )
    return tuple(made)


def _production_words(audit: Audit) -> Picture | None:
    if audit.production is None:
        return None
    draw = figures.words(audit.production.training_words, audit.production.production_words)
    return _both(
        draw,
        "production-words",
        "Words of an input in training and in production",
        height=260,
        caption="Words of an input",
    )
