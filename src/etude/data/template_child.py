"""The child in which a chat template runs: a template comes with a model, and may be a hostile program. Not imported.

It needs nothing of Etude or transformers, so that it starts quickly and stays small. Its environment is that of
transformers' `apply_chat_template` (sandboxed, nothing can be changed); what a sandbox does not hold, time and memory,
the operating system does: `'x' * 10**9` runs in C, where nothing but a signal ends it.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from datetime import datetime
from typing import Any

import jinja2
import jinja2.ext
import jinja2.sandbox

CPU_SECONDS = 0.3
CPU_SECONDS_A_CHARACTER = 0.3e-6
MEMORY_BYTES = 32 << 20
MEMORY_BYTES_A_CHARACTER = 32
WRITTEN = 1_000_000
WRITTEN_A_CHARACTER = 8
"""Most of everything that one request may use: for any, and more for each character in it."""


class GenerationBlocks(jinja2.ext.Extension):
    """`{% generation %}` marks the answer in some templates; what stands in it is written as it is."""

    tags = {"generation"}  # noqa: RUF012  # jinja2's own name and type

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


class Namespace(jinja2.utils.Namespace):
    """A namespace that holds no names of Python's inside."""

    def __init__(*args: Any, **names: Any) -> None:
        self, *given = args
        held = dict(*given, **names)
        for name in held:
            _check(name)
        jinja2.utils.Namespace.__init__(self, held)

    def __setitem__(self, name: str, value: Any) -> None:
        _check(name)
        super().__setitem__(name, value)


def _check(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"the name {name!r} of a namespace begins with an underscore")


class Dict:
    """`dict(…)` without the class behind it."""

    def __call__(self, *args: Any, **names: Any) -> dict[Any, Any]:
        return dict(*args, **names)

    def fromkeys(self, keys: Any, value: Any = None) -> dict[Any, Any]:
        return dict.fromkeys(keys, value)


def refuse(message: str) -> None:
    """What templates call `raise_exception`."""
    raise jinja2.TemplateError(message)


def tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """JSON as it is, where jinja2's own filter writes it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def strftime_now(form: str) -> str:
    """The date, for templates that tell it to the model."""
    return datetime.now().strftime(form)


def environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    """What templates are written for."""
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlocks, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals.update(
        raise_exception=refuse, strftime_now=strftime_now, dict=Dict(), namespace=Namespace
    )  # fmt: skip
    return made


def used_bytes() -> int:
    """Address space in use; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as told:
            return int(told.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def limit(base: int, size: int) -> None:
    """Sets what a request of so many characters may use; the signal's default action ends the process."""
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS + size * CPU_SECONDS_A_CHARACTER)
    if base:
        most = base + MEMORY_BYTES + size * MEMORY_BYTES_A_CHARACTER
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def rendered(compiled: dict[str, Any], line: str) -> list[str]:
    """Each chat of a request."""
    request = json.loads(line)
    if request["source"] not in compiled:
        compiled[request["source"]] = environment().from_string(request["source"])
    template = compiled[request["source"]]
    left = WRITTEN + WRITTEN_A_CHARACTER * len(line)
    texts: list[str] = []
    for messages in request["chats"]:
        text = template.render(
            **{
                **request["special"],
                "messages": messages,
                "tools": request["tools"],
                "documents": None,
                "add_generation_prompt": request["answer"],
            }
        )
        left -= len(text)
        if left < 0:
            raise MemoryError
        texts.append(text)
    return texts


def answered(compiled: dict[str, Any], line: str) -> dict[str, Any]:
    """The reply to a request: the texts, why the template refuses, or that it takes too much."""
    try:
        return {"rendered": rendered(compiled, line)}
    except MemoryError:
        return {"over": "memory"}
    except RecursionError:
        return {"over": "nesting"}
    except (
        jinja2.TemplateError,
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
        SyntaxError,
    ) as error:
        return {"refused": str(error)[:500] or type(error).__name__}


def main() -> None:
    """Answers line by line until its parent is gone."""
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    base = used_bytes()
    compiled: dict[str, Any] = {}
    for line in sys.stdin:
        limit(base, len(line))
        reply = answered(compiled, line)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
