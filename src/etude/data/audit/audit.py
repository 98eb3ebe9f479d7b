"""The whole audit: every check over the same rows, read once; the result is a frozen table that pages are made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from etude.data.audit.answers import Answers, AnswerTable
from etude.data.audit.coverage import Clusters, Coverage, cluster, coverage
from etude.data.audit.duplicates import DuplicateCounts, Duplicates
from etude.data.audit.encoding import Encoding
from etude.data.audit.example import Example, Sample, examples
from etude.data.audit.finding import SEVERITIES, Finding, Severity, worst_first
from etude.data.audit.groups import BiasTable, Groups
from etude.data.audit.labels import ANSWER, Labels, LabelTable
from etude.data.audit.languages import LanguageTable, languages
from etude.data.audit.lengths import Lengths, LengthTable
from etude.data.audit.noise import NoiseTable, label_noise
from etude.data.audit.options import AuditOptions
from etude.data.audit.privacy import Privacy, PrivacyTable
from etude.data.audit.production import ProductionTable, compare
from etude.data.audit.remedies import Remedies
from etude.data.audit.schema import Schema
from etude.data.audit.toxicity import Classify, Toxicity, ToxicityTable
from etude.data.audit.vectors import Embed, condensed, weighed
from etude.data.check import BadRow, RowError
from etude.data.inputs import Inputs, Row
from etude.errors import DataError, Problems

if TYPE_CHECKING:
    from etude.data.render import Renderer

FEWEST_COMPARED = 40
"""Below, topics and label noise say nothing."""
MOST_NOISE_TABLES = 4
SAID = ("check", "severity", "title", "rows", "advice", "command")


@dataclass(frozen=True)
class Audit:
    """What is known of rows, and what is wrong with them."""

    files: tuple[str, ...]
    detected: tuple[str, ...]
    """Each file's layout, in words."""
    kinds: tuple[tuple[str, int], ...]
    """Rows by kind of record."""
    rows: int
    """Rows that can be used."""
    unusable: int
    sampled: int
    """Rows that were compared with each other; equal to `rows` unless there are many."""
    findings: tuple[Finding, ...]
    """The worst first."""
    duplicates: DuplicateCounts
    lengths: LengthTable | None
    """None where no tokenizer was given."""
    answers: AnswerTable | None
    labels: tuple[LabelTable, ...]
    noise: tuple[NoiseTable, ...]
    languages: LanguageTable
    privacy: PrivacyTable
    toxicity: ToxicityTable
    groups: BiasTable | None
    coverage: Coverage | None
    production: ProductionTable | None
    notes: tuple[str, ...]
    """What was not looked at, or only in a sample."""
    options: AuditOptions
    input_hashes: tuple[str, ...] = field(default=())

    def count(self, severity: Severity) -> int:
        """How many findings are that severe."""
        return sum(finding.severity == severity for finding in self.findings)

    def fails(self, on: Severity) -> bool:
        """Whether anything is as severe as that, or worse."""
        return any(SEVERITIES.index(finding.severity) <= SEVERITIES.index(on) for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values; places as `file:line`."""
        made = asdict(self)
        made["findings"] = [
            {
                **{name: getattr(finding, name) for name in SAID},
                "places": [
                    {"file": place.origin.path, "line": place.origin.line, "shown": place.shown}
                    for place in finding.places
                ],
            }
            for finding in self.findings
        ]  # fmt: skip
        return made


@dataclass
class _Streams:
    """The checks that see every row once."""

    schema: Schema
    encoding: Encoding
    duplicates: Duplicates
    answers: Answers
    labels: Labels
    privacy: Privacy
    toxicity: Toxicity
    groups: Groups
    sample: Sample
    lengths: Lengths | None
    kinds: dict[str, int] = field(default_factory=dict)

    def take(self, row: Row | BadRow) -> None:
        """One more row of the files."""
        if isinstance(row, BadRow):
            self.schema.refuse(row)
            return
        try:
            made = list(examples(row))
        except RowError as error:
            self.schema.refuse(BadRow(row.origin, str(error), row.line()))
            return
        self.schema.take(row)
        for one in made:
            kind = type(one.record).__name__
            self.kinds[kind] = self.kinds.get(kind, 0) + 1
            for check in (
                self.encoding, self.duplicates, self.answers, self.labels, self.privacy, self.toxicity, self.groups,
                self.sample,
            ):  # fmt: skip
                check.take(one)
            if self.lengths is not None:
                self.lengths.take(one)


def audit(
    inputs: Inputs,
    options: AuditOptions | None = None,
    *,
    renderer: Renderer | None = None,
    model: str = "",
    embed: Embed | None = None,
    classify: Classify | None = None,
    production: Inputs | None = None,
    reading: Sequence[str] = (),
    report: str = "",
) -> Audit:
    """Looks at every row of the files once, and at a sample of them closely.

    `renderer` measures lengths as training does, with the tokenizer of `model`; `embed` turns texts into unit vectors
    in the place of weighed words; `classify` gives each answer's chance of being toxic; `production` are inputs as
    users write them; `reading` are the flags that remedies repeat, `report` is where they find this audit as JSON.

    Raises:
        Problems: options out of range.
        DataError: files without one usable row, or a group column that is not there.
    """
    options = options or AuditOptions()
    wrong = options.problems()
    if wrong:
        raise Problems("audit options", [f"{name}: {what}" for name, what in wrong])
    remedies = Remedies(tuple(file.name for file in inputs.files), tuple(reading), report)
    streams = _Streams(
        Schema(), Encoding(), Duplicates(options.near), Answers(), Labels(options.rare_rows), Privacy(),
        Toxicity(), Groups(options.groups), Sample(options.sample_rows, options.seed),
        None if renderer is None else Lengths(renderer, model, options.max_tokens),
    )  # fmt: skip
    for row in inputs.each("looking at rows"):
        streams.take(row)
    if not streams.sample.seen:
        reason, spotted = next(iter(streams.schema.unusable.items()))
        where = str(spotted.places[0].origin)
        raise DataError(f"not one row can be used: {reason}", where=where, remedy=remedies.show())
    if classify is not None:
        streams.toxicity.classified(streams.sample.finish(), classify)
    return _concluded(streams, inputs, options, remedies, embed, production)


def _concluded(
    streams: _Streams, inputs: Inputs, options: AuditOptions, remedies: Remedies, embed: Embed | None,
    production: Inputs | None,
) -> Audit:  # fmt: skip
    sample = streams.sample.finish()
    texts = {one.origin: one.question for one in sample}
    streams.privacy.closely(sample)
    labels = streams.labels.finish()
    lengths = streams.lengths.finish() if streams.lengths else None
    spoken, about_languages = languages(sample)
    bias = streams.groups.finish(options.false_alarms)
    with inputs.progress("comparing rows") as on_progress:
        duplicates, about_copies = streams.duplicates.finish(
            remedies, texts, are_labels=any(table.name == ANSWER for table in labels), on_progress=on_progress
        )
    findings = [
        *streams.schema.findings(remedies),
        *streams.encoding.findings(remedies),
        *about_copies,
        *(streams.lengths.findings(remedies) if streams.lengths else []),
        *streams.answers.findings(remedies),
        *streams.labels.findings(labels, remedies),
        *about_languages,
        *streams.privacy.findings(remedies),
        *streams.toxicity.findings(remedies),
        *(streams.groups.findings(bias) if bias else []),
    ]
    closely = _closely(sample, labels, options, remedies, embed, production)
    return Audit(
        files=remedies.files,
        detected=tuple(f"{file.source.format}, {file.layout}" for file in inputs.files),
        kinds=tuple(sorted(streams.kinds.items(), key=lambda pair: -pair[1])),
        rows=streams.sample.seen,
        unusable=streams.schema.num_unusable,
        sampled=len(sample),
        findings=worst_first([*findings, *closely.findings]),
        duplicates=duplicates,
        lengths=lengths,
        answers=streams.answers.finish(),
        labels=labels,
        noise=closely.noise,
        languages=spoken,
        privacy=streams.privacy.finish(),
        toxicity=streams.toxicity.finish(),
        groups=bias,
        coverage=closely.coverage,
        production=closely.production,
        notes=tuple(_notes(streams, options, embed)),
        options=options,
        input_hashes=tuple(file.sha256 for file in inputs.files),
    )


@dataclass(frozen=True)
class _Closely:
    """What comparing rows with each other told."""

    findings: tuple[Finding, ...] = ()
    noise: tuple[NoiseTable, ...] = ()
    coverage: Coverage | None = None
    production: ProductionTable | None = None


def _closely(
    sample: Sequence[Example], labels: Sequence[LabelTable], options: AuditOptions, remedies: Remedies,
    embed: Embed | None, production: Inputs | None,
) -> _Closely:  # fmt: skip
    """Label noise, topics, production: all from the same vectors."""
    traffic = [] if production is None else _traffic(production, options)
    if len(sample) < FEWEST_COMPARED:
        return _Closely()
    asked = [one.question for one in (*sample, *traffic)]
    vectors: Any = weighed(asked) if embed is None else embed(asked)
    dense = condensed(vectors, seed=options.seed) if embed is None else vectors
    noise: list[NoiseTable] = []
    findings: list[Finding] = []
    for table in labels[:MOST_NOISE_TABLES]:
        made, found = label_noise(sample, vectors[: len(sample)], table, remedies, seed=options.seed)
        noise += [made] if made else []
        findings += found
    clusters: Clusters = cluster(dense[: len(sample)], options.clusters, seed=options.seed)
    topics, thin = coverage(sample, clusters)
    compared = None
    if traffic:
        names = [", ".join(topic.words) for topic in topics.topics]
        compared, found = compare(sample, traffic, dense, clusters, names, false_alarms=options.false_alarms)
        findings += found
    return _Closely((*findings, *thin), tuple(noise), topics, compared)


def _traffic(production: Inputs, options: AuditOptions) -> list[Example]:
    """An even sample of the production rows; those that cannot be used are passed over."""
    sample = Sample(options.sample_rows, options.seed)
    for row in production.each("looking at production"):
        if isinstance(row, Row):
            try:
                made = list(examples(row))
            except RowError:
                continue
            for one in made:
                sample.take(one)
    if not sample.seen:
        raise DataError(
            "not one production row can be used", where=production.files[0].name, remedy="look at its first line"
        )
    return sample.finish()


def _notes(streams: _Streams, options: AuditOptions, embed: Embed | None) -> list[str]:
    """What a reader must know about how closely was looked."""
    said = []
    if not streams.sample.is_whole:
        said.append(
            f"Label noise, topics, languages and people's names were looked for in {options.sample_rows:,} rows, "
            f"drawn evenly from {streams.sample.seen:,}; everything else in all of them."
        )
    if streams.lengths is None:
        said.append("Lengths were not measured: no model was named.")
    if embed is None:
        said.append(
            "Inputs were compared by their words, not by their meaning; an embedding model (--embedder) sees more."
        )
    if streams.toxicity.finish().by_classifier is None:
        said.append(
            "Toxicity was looked for with a small English lexicon, which knows no context; --classifier takes a model."
        )
    return said
