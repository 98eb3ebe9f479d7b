"""The knobs of decoding."""

from __future__ import annotations

from dataclasses import dataclass

from etude.errors import ConfigError, Problems


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """How answers are drawn; the defaults are greedy decoding."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    """0: greedy."""
    top_p: float = 1.0
    """Nucleus: the smallest set of tokens whose probability reaches this share."""
    top_k: int = 0
    """Only the k likeliest tokens; 0: all."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer; they are not part of it."""
    seed: int = 0
    batch_rows: int = 32
    """Prompts decoded together."""

    def problems(self) -> list[tuple[str, str]]:
        """(setting, what is wrong with it) for every setting out of range."""
        found: list[tuple[str, str]] = []
        for name, low in {"max_new_tokens": 1, "temperature": 0, "top_k": 0, "batch_rows": 1}.items():
            value: float = getattr(self, name)
            if not low <= value < float("inf"):
                found.append((name, f"must be a number of at least {low}, got {value:g}"))
        if not 0 < self.top_p <= 1:
            found.append(("top_p", f"must be above 0 and at most 1, got {self.top_p:g}"))
        if "" in self.stop:
            found.append(("stop", "a stop text must not be empty"))
        return found

    def check(self) -> None:
        """Raises Problems naming every setting out of range."""
        wrong = self.problems()
        if wrong:
            raise Problems("sampling options", [ConfigError(text, where=name) for name, text in wrong])
