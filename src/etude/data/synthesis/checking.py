"""Whether a written example may become a row: its form, its length, its rules, and that nothing like it is there."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.data.inputs import open_inputs
from etude.data.sides import Sides
from etude.data.synthesis.judging import Verdict
from etude.data.synthesis.seeds import Seed, Seeds, hashed, said_in
from etude.data.work import Rows
from etude.errors import ConfigError, EtudeError
from etude.json_values import parse_object

if TYPE_CHECKING:
    from etude.data.synthesize import Synthesize
    from etude.endpoints.exchange import Reply
    from etude.records import Origin


@dataclass(frozen=True)
class Candidate:
    """One written example on its way to becoming a row."""

    attempt: int
    seeds: tuple[Seed, ...]
    reply: Reply
    prompt: str
    completion: str
    notes: dict[str, Any] = field(default_factory=dict)
    """What checks found, for the row."""


@dataclass
class Rules:
    """What one example has to satisfy by itself."""

    options: Synthesize
    seeds: Seeds

    def __post_init__(self) -> None:
        self._schema = None if self.options.schema is None else _validator(self.options.schema)
        self._pattern = None if self.options.answer_pattern is None else re.compile(self.options.answer_pattern)

    def verdict(self, made: Candidate) -> Verdict | None:
        """Why the example goes; None if it may stay."""
        options = self.options
        for name, text in (("prompt", made.prompt), ("completion", made.completion)):
            if not options.least_characters <= len(text) <= options.most_characters:
                return f"{name} too {'short' if len(text) < options.least_characters else 'long'}", {
                    "characters": len(text)
                }
        if self._pattern is not None and self._pattern.fullmatch(made.completion) is None:
            return "answer does not match the pattern", {}
        if options.known_answers and hashed(made.completion) not in self.seeds.answers:
            return "answer that no seed has", {}
        if self.seeds.fields and (wrong := _other_form(made.completion, self.seeds.fields)):
            return "answer of another form than the seeds'", {"found": wrong}
        return self._against_schema(made.completion)

    def _against_schema(self, completion: str) -> Verdict | None:
        if self._schema is None:
            return None
        try:
            value = json.loads(completion)
        except (ValueError, RecursionError) as error:
            return "answer is no JSON", {"found": str(error)}
        wrong = sorted(self._schema.iter_errors(value), key=lambda error: error.json_path)
        return ("answer breaks the schema", {"found": f"{wrong[0].json_path}: {wrong[0].message}"}) if wrong else None


def _other_form(completion: str, fields: set[str]) -> str:
    held = parse_object(completion)
    if held is None:
        return "no JSON object"
    foreign = sorted(held.keys() - fields)
    return f"the field {foreign[0]!r}, which no seed has" if foreign else ""


def _validator(path: str) -> Any:
    """The schema in a file, ready to check values; https://json-schema.org.

    Raises:
        EtudeError: no such file, no JSON, no schema, or the library is missing.
    """
    try:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for
    except ImportError:
        raise EtudeError("a schema needs jsonschema", remedy="pip install 'etude[evaluation]'") from None
    try:
        schema = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        chosen = validator_for(schema)
        chosen.check_schema(schema)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read as JSON ({error})", where=f"--schema {path}") from error
    except SchemaError as error:
        raise ConfigError(f"is no JSON schema: {error.message}", where=f"--schema {path}") from error
    return chosen(schema)


@dataclass
class Fresh:
    """Finds examples whose prompt (nearly) repeats a seed's, an earlier example's, or what an evaluation set asks."""

    rows: Rows
    options: Synthesize
    seeds: Seeds
    kept: list[Candidate] = field(default_factory=list)
    _items: list[Sides] = field(default_factory=list)
    _origins: list[Origin] = field(default_factory=list)

    def __post_init__(self) -> None:
        from etude.data.decontaminate import items_of

        if self.options.against:
            reading = self.rows.inputs.reading.elsewhere()
            evaluation = open_inputs(self.options.against, reading, progress=self.rows.inputs.progress)
            self._items, self._origins = items_of(evaluation)

    def verdicts(self, made: Sequence[Candidate]) -> list[Verdict | None]:
        """For each example why it goes, or None."""
        leaks = self._leaks(made)
        copies = self._copies(made, {*leaks})
        return [leaks.get(place) or copies.get(place) for place in range(len(made))]

    def _leaks(self, made: Sequence[Candidate]) -> dict[int, Verdict]:
        from etude.data.decontaminate import Decontaminate
        from etude.data.leaks import LeakFinder

        if not self._items:
            return {}
        finder = LeakFinder(self._items, ngram=Decontaminate.ngram, threshold=self.options.threshold)
        for one in made:
            finder.take(Sides(one.prompt, one.completion))
        return {place: ("leak", leak.facts(self._origins)) for place, leak in finder.finish().items()}

    def _copies(self, made: Sequence[Candidate], gone: set[int]) -> dict[int, Verdict]:
        """Each example is compared with the seeds, the rows kept so far, and those before it that stay."""
        from etude.data.near import TextTaker

        texts, known = TextTaker(self.options.threshold), []
        if not self.seeds.documents:
            for origin, prompt in said_in(self.rows, "looking for copies of seeds"):
                texts.take(Sides(prompt, ""))
                known.append(origin)
        for one in (*self.kept, *made):
            texts.take(Sides(one.prompt, ""))
        known += [f"attempt {one.attempt}" for one in self.kept]
        taken = texts.finish()
        found: dict[int, Verdict] = {}
        best: dict[int, float] = {}
        for earlier, later, alike in taken.prompts_compared(later_from=len(known)):
            before, place = earlier - len(known), later - len(known)
            stays = before < 0 or (before not in found and before not in gone)
            if stays and alike >= max(self.options.threshold, best.get(place, 0.0)):
                best[place] = alike
                of = known[earlier] if before < 0 else f"attempt {made[before].attempt}"
                found[place] = ("copy" if alike == 1 else "near copy"), {"of": of, "alike": round(alike, 3)}
        return found
