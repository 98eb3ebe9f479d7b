"""Answers that were paid for once, kept by the content of the question: a job that was stopped goes on for nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from etude import durable
from etude.endpoints.exchange import Reply


@dataclass(frozen=True, slots=True)
class AnswerCache:
    """A file for each answer; several processes may use one folder at once."""

    folder: Path

    def read(self, key: str) -> Reply | None:
        """The answer under this key; None where there is none, or none that can be read."""
        try:
            kept = json.loads(self._path(key).read_text(encoding="utf-8"))
            return replace(Reply(**kept), cached=True)
        except (OSError, ValueError, TypeError):
            return None

    def write(self, key: str, reply: Reply) -> None:
        """
        Raises:
            StorageError: the disk refuses.
        """
        path = self._path(key)
        if not path.parent.exists():
            durable.make_directory(path.parent, exist_ok=True)
        kept = {name: getattr(reply, name) for name in ("text", "finish", "tokens_asked", "tokens_answered", "seconds")}
        durable.write_json(path, kept, indent=None)

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"
