"""Flags made from a step's settings, and what is said when they are wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from etude.cli.arguments import Parser
from etude.cli.data.files import add_settings, settings_of
from etude.cli.main import main
from etude.errors import EtudeError


@dataclass(frozen=True, kw_only=True)
class Mend:
    """Mends."""

    kind: Literal["mend"] = "mend"
    share: float = 0.5
    """How much, in %."""
    keep: Literal["first", "last"] = "first"
    """Which one stays."""
    loud_words: tuple[str, ...] = ("a", "b")
    """Words."""
    most: int | None = None
    """At most so many."""
    spaces: bool = True
    """Whether spaces are mended."""

    def problems(self) -> list[tuple[str, str]]:
        return [] if 0 <= self.share <= 1 else [("share", f"must be from 0 to 1, got {self.share:g}")]


def parsed(*arguments: str) -> Mend:
    parser = Parser(prog="mend")
    add_settings(parser, Mend)
    return settings_of(parser.parse(arguments), Mend)


def test_defaults_are_the_dataclass_own() -> None:
    assert parsed() == Mend()


def test_each_setting_has_a_flag() -> None:
    given = ("--share", "0.25", "--keep", "last", "--loud-words", "x", "y", "--most", "3", "--no-spaces")
    assert parsed(*given) == Mend(share=0.25, keep="last", loud_words=("x", "y"), most=3, spaces=False)


def test_what_is_out_of_range_is_said_by_flag() -> None:
    with pytest.raises(EtudeError, match=r"--share: must be from 0 to 1, got 2"):
        parsed("--share", "2")
    with pytest.raises(EtudeError, match="--keep"):
        parsed("--keep", "middle")


def test_the_help_is_the_docstrings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--help")
    said = " ".join(capsys.readouterr().out.split())
    assert "How much, in %. (0.5)" in said
    assert "--no-spaces" in said


def test_the_subcommands_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["data", "--help"])
    assert "print rows with what is learned" in capsys.readouterr().out
