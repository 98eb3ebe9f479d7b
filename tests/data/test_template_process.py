"""A hostile chat template ends soon and small, with one clear line; an honest one gives what transformers gives."""

from __future__ import annotations

import os
import resource
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from etude.data import template_process
from etude.data.render import Renderer
from etude.data.template_process import TemplateProcess
from etude.errors import DataError, ModelError
from etude.records import Conversation, Message, Origin
from tests.data.tokenizers_zoo import CHATML, byte_level

HERE = Origin("rows.jsonl", 1)
SECONDS = 1.0
MEGABYTES = 64
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
HOSTILE = {
    "multiplied string": ("{{ 'a' * (messages|length * 10**9) }}", "memory"),
    "multiplied in advance": ("{{ 'a' * 10**9 }}", "memory"),
    "doubled string": (
        "{% set n = namespace(s='a') %}{% for a in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
        "memory",
    ),
    "filled list": ("{{ range(99999)|list|string * 1000 }}", "memory"),
    "format": ("{{ '%1000000000d'|format(1) }}", "memory"),
    "centre": ("{{ 'a'|center(10**10) }}", "memory"),
    "long range": ("{{ range(5000000)|list }}", "Range too big"),
    "endless loops": (LOOPS, "time"),
    "great number": ("{{ (messages|length + 9) ** (10 ** 8) % 7 }}", "time|memory"),
    "doubling calls": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "time",
    ),
    "call without end": ("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "without end"),
    "deep nesting": ("{{ " + "(" * 50_000 + "1" + ")" * 50_000 + " }}", "nested|memory"),
    "long source": ("a" * 1_000_001, "longer than"),
    "classes": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    "globals": ("{{ lipsum.__globals__['os'].system('true') }}", "unsafe"),
    "initializer": ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "unsafe"),
    "format string": ("{{ '{0.__class__.__mro__}'.format(messages) }}", "unsafe"),
    "namespace": ("{% set n = namespace(__class__=1) %}", "underscore"),
    "changed messages": ("{{ messages.append(1) }}", "unsafe"),
}


def chat(*contents: str) -> Conversation:
    said = tuple(Message(("user", "assistant")[at % 2], text) for at, text in enumerate(contents))
    return Conversation(said, HERE)


def used() -> float:
    """CPU seconds of this process and of all that it has waited for."""
    return sum(
        spent.ru_utime + spent.ru_stime
        for spent in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def peak_megabytes(process: TemplateProcess) -> float:
    """The child's own peak so far; 0 if it is gone."""
    child = process._child._process
    if child is None:
        return 0.0
    told = Path(f"/proc/{child.pid}/status").read_text(encoding="ascii")
    return int(told.partition("VmHWM:")[2].split()[0]) / 1024


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_ends_soon_and_small_with_one_line(name: str) -> None:
    template, reason = HOSTILE[name]
    tokenizer = byte_level(template, "<|im_start|>", "<|im_end|>")
    begun = used()
    with pytest.raises(ModelError, match=reason) as raised:
        Renderer(tokenizer).row(chat("hello", "yes"))
    assert used() - begun <= SECONDS
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
@pytest.mark.parametrize("name", [name for name, (_, reason) in HOSTILE.items() if name != "long source"])
def test_a_hostile_template_stays_small(name: str) -> None:
    process = TemplateProcess(byte_level(HOSTILE[name][0], "<|im_start|>", "<|im_end|>"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with suppress(ModelError, DataError):
        process.render([[{"role": "user", "content": "hi"}]], (), answer=False)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    assert peak_megabytes(process) + grown <= MEGABYTES


@pytest.mark.parametrize("attack", ["{{ 'a' * (10**9 + messages|length) }}", LOOPS])
def test_one_that_waits_for_a_certain_content_is_refused_then_and_from_then_on(attack: str) -> None:
    template = f"{CHATML}{{% if 'zebra' in messages[0].content %}}{attack}{{% endif %}}"
    renderer = Renderer(byte_level(template, "<|im_start|>", "<|im_end|>"))
    assert renderer.row(chat("hello", "yes")).learns
    begun = used()
    with pytest.raises(ModelError, match="takes more"):
        renderer.plan_all([chat("hello", "yes"), chat("zebra", "yes"), chat("hello", "no")])
    assert used() - begun <= SECONDS
    with pytest.raises(ModelError, match="takes more"):
        renderer.row(chat("hello", "yes"))


def test_a_child_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_process, "WALL_SECONDS", 6.0)
    process = TemplateProcess(byte_level(CHATML, "<|im_start|>", "<|im_end|>"))
    said = [{"role": "user", "content": "hi"}]
    assert process.render([said], (), answer=False)
    child = process._child._process
    assert child is not None
    os.kill(child.pid, signal.SIGSTOP)
    large = [{"role": "user", "content": "hi" * (1 << 17)}]  # more than a pipe holds
    begun = time.monotonic()
    assert process.render([large], (), answer=False)[0].startswith("<|im_start|>user\nhihi")
    assert time.monotonic() - begun > 5.9
    assert child.poll() == -signal.SIGKILL


def test_a_child_that_was_lost_is_replaced_and_a_copy_of_the_process_has_its_own() -> None:
    process = TemplateProcess(byte_level(CHATML, "<|im_start|>", "<|im_end|>"))
    said = [{"role": "user", "content": "hi"}]
    expected = ["<|im_start|>user\nhi<|im_end|>\n"]
    assert process.render([said], (), answer=False) == expected
    child = process._child._process
    assert child is not None
    copied = os.fork()
    if not copied:
        os._exit(0 if process.render([said], (), answer=False) == expected else 1)
    assert os.waitpid(copied, 0)[1] == 0
    child.kill()
    assert process.render([said], (), answer=False) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}\n  {% generation %}{{ m.content }}{% endgeneration %}\n{% endfor %}",
        "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m | tojson }}{% endfor %}",
        "{% set n = namespace(a=1) %}{% set n.a = dict(b='é<>')['b'] %}{{ n.a ~ strftime_now('%Y') ~ eos_token }}",
    ],
)
def test_an_honest_one_gives_what_transformers_gives(template: str) -> None:
    tokenizer = byte_level(template, "<|im_start|>", "<|im_end|>")
    said = [{"role": "user", "content": "hi <é>\ud800"}, {"role": "assistant", "content": "yes"}]
    (text,) = TemplateProcess(tokenizer).render([said], (), answer=False)
    assert text == tokenizer.apply_chat_template(said, tokenize=False)
