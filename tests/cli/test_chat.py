"""The chat: a conversation that remembers, forgets and survives Ctrl-C; a pipe with a line for a line."""

from __future__ import annotations

import io
from argparse import ArgumentParser
from collections.abc import Iterator

import pytest

from etude.cli import chat
from etude.cli.chat import Session, answer_lines, talk
from etude.cli.terminal import visible
from etude.errors import Problems
from etude.sampling.options import SampleOptions
from tests.toy import toy_loaded


def session(*, system: str | None = None, max_new_tokens: int = 12) -> Session:
    options = SampleOptions(max_new_tokens=max_new_tokens, temperature=1.0)
    return Session(toy_loaded(), options, system=system)


def said(one: Session) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in one.messages]


def talked(one: Session, *lines: str) -> str:
    out = io.StringIO()
    talk(one, iter(lines), out)
    return out.getvalue()


def test_a_conversation_remembers_what_was_said() -> None:
    one = session(system="be brief")
    written = talked(one, "my card has not arrived", "why?")
    assert [role for role, _ in said(one)] == ["system", "user", "assistant", "user", "assistant"]
    answers = [text for role, text in said(one) if role == "assistant"]
    assert written == "".join(f"{visible(answer)}\n" for answer in answers)
    assert talked(session(system="be brief"), "my card has not arrived", "why?") == written


def test_the_first_answer_changes_the_second() -> None:
    one = session()
    talked(one, "my card has not arrived", "why?")
    other = session()
    talked(other, "why?")
    assert said(one)[-1] != said(other)[-1]


def test_reset_forgets_all_but_the_system_message() -> None:
    one = session(system="be brief")
    assert "forgotten" in talked(one, "hello", "/reset")
    assert said(one) == [("system", "be brief")]
    talked(one, "hello", "/system answer in  JSON ")
    assert said(one) == [("system", "answer in  JSON")]


def test_quit_ends_and_unknown_commands_are_named() -> None:
    one = session()
    assert "No such command: /rest. There are /reset" in talked(one, "", "/rest", "/quit", "hello")
    assert said(one) == []


class Interrupted(io.StringIO):
    """Output during which somebody presses Ctrl-C after some pieces."""

    pieces = 0

    def write(self, text: str) -> int:
        self.pieces += 1
        if self.pieces == 3:
            raise KeyboardInterrupt
        return super().write(text)


def test_ctrl_c_stops_the_answer_not_the_chat() -> None:
    one, out = session(max_new_tokens=100), Interrupted()
    talk(one, iter(["my card has not arrived", "why?"]), out)
    first, second = (text for role, text in said(one) if role == "assistant")
    assert len(first) < len(second)
    assert out.getvalue().splitlines()[0].endswith(" [stopped]")


def test_a_chat_that_outgrew_the_context_says_so_and_goes_on() -> None:
    one = session(max_new_tokens=400)
    written = talked(one, "0123456789 " * 60, "hello")
    assert "exceed the context of 512" in written
    assert "/reset begins a new conversation" in written
    assert [role for role, _ in said(one)] == ["user", "assistant"]
    assert said(one)[0] == ("user", "hello")


def test_a_pipe_gives_a_line_for_a_line_each_on_its_own() -> None:
    out = io.StringIO()
    answer_lines(session(max_new_tokens=60), io.StringIO("why?\n\nmy card\nwhy?\n"), out)
    lines = out.getvalue().split("\n")
    assert len(lines) == 5
    assert lines[0] == lines[3]
    assert lines[1] == lines[4] == ""
    assert lines[2] != lines[0]


def test_typed_lines_survive_ctrl_c_and_end_with_ctrl_d(monkeypatch: pytest.MonkeyPatch) -> None:
    keys: Iterator[str | type[BaseException]] = iter(["hello", KeyboardInterrupt, "again", EOFError])

    def typed(_: str) -> str:
        key = next(keys)
        if isinstance(key, str):
            return key
        raise key

    monkeypatch.setattr("builtins.input", typed)
    assert list(chat._typed_lines()) == ["hello", "again"]


def test_settings_out_of_range_are_named_before_anything_is_loaded() -> None:
    parser = ArgumentParser()
    chat.add_arguments(parser)
    with pytest.raises(Problems, match=r"top_p: must be above 0 and at most 1, got 3"):
        chat.run(parser.parse_args(["--top-p", "3", "--max-new-tokens", "0"]))
