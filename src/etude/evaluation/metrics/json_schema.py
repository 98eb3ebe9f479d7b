"""Whether answers are JSON of a given schema."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from etude.errors import EtudeError
from etude.evaluation.metrics.base import Metric, Scored, Summary, file_identity, means

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


@dataclass(frozen=True, kw_only=True)
class JsonSchema(Metric):
    """1 if the whole answer is JSON that the schema allows (https://json-schema.org); references are not needed."""

    schema: str = ""
    """A file with the schema, relative to the task file."""

    primary: ClassVar[str] = "schema_valid"

    @property
    def needs_reference(self) -> bool:
        return False

    def problems(self) -> list[tuple[str, str]]:
        return [] if self.schema else [("schema", "missing; the metric 'json_schema' needs one")]

    def beside(self, folder: Path) -> Self:
        return replace(self, schema=str(folder / Path(self.schema).expanduser()))

    def settings(self) -> dict[str, Any]:
        return {"schema": file_identity(Path(self.schema))}

    @cached_property
    def _validator(self) -> Validator:
        try:
            from jsonschema import SchemaError, validators
        except ImportError as error:
            raise EtudeError("json_schema needs jsonschema", remedy='pip install "etude[evaluation]"') from error
        try:
            schema = json.loads(Path(self.schema).read_text(encoding="utf-8"))
            kind = validators.validator_for(schema)
            kind.check_schema(schema)
        except (OSError, ValueError, SchemaError) as error:
            raise EtudeError(f"is no JSON schema: {str(error).splitlines()[0]}", where=self.schema) from error
        found: Validator = kind(schema)
        return found

    def fitted(self, references: Sequence[str]) -> Self:
        """Reads the schema, so that what is wrong with it is said before a model is asked."""
        assert self._validator
        return self

    def score(self, answer: str, reference: str) -> Scored:
        """Details: `fault`, where the first thing is that the schema does not allow, or None."""
        try:
            value = json.loads(answer)
        except (ValueError, RecursionError):
            return Scored({self.primary: 0.0, "valid_json": 0.0}, {"fault": "not JSON"})
        fault = self._fault(value)
        return Scored({self.primary: float(fault is None), "valid_json": 1.0}, {"fault": fault})

    def _fault(self, value: object) -> str | None:
        from jsonschema.exceptions import best_match
        from referencing.exceptions import Unresolvable

        try:
            error = best_match(self._validator.iter_errors(value))
        except Unresolvable as unresolvable:
            raise EtudeError(f"names a schema that is not in it: {unresolvable}", where=self.schema) from unresolvable
        if error is None:
            return None
        return f"{error.json_path}: {error.message}"[:200]

    def summarize(self, scored: Sequence[Scored], references: Sequence[str]) -> Summary:
        """The table `faults` counts what was wrong, by place."""
        faults = Counter(str(one.details["fault"]).partition(":")[0] for one in scored if one.details["fault"])
        return Summary(means(scored), {"faults": [{"place": place, "count": n} for place, n in faults.most_common()]})
