"""What the models are asked, in full, and how their answers are read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from etude.errors import ConfigError
from etude.json_values import parse_object

FROM_SEEDS = """\
Here are examples of requests and their right answers, one JSON object a line:

{examples}

Write one new example of the same kind. Its request differs from all of these in subject and in wording; its answer is \
right and has the form of theirs. Reply with one JSON object with the keys "prompt" and "completion", and nothing \
else."""
FROM_PASSAGE = """\
Read this passage:

{passage}

Write one question that the passage answers, and the answer. The question can be understood without the passage; \
the answer holds nothing that the passage does not say. Reply with one JSON object with the keys "prompt" and \
"completion", and nothing else."""
ANSWER_LIKE_SEEDS = """\
Here are examples of requests and their right answers, one JSON object a line:

{examples}

Answer the next request in the same form. Reply with the answer only.

{prompt}"""
ANSWER_FROM_PASSAGE = """\
Read this passage:

{passage}

Answer from the passage alone. Reply with the answer only.

{prompt}"""
JUDGE = """\
Rate an answer to a request.

Request:
{prompt}

Answer:
{completion}

5 is right, complete and to the point; 3 is right in part; 1 is wrong or no answer. Reply with the number only."""
SAME_REQUEST = """\
A request was put into other words. Rate how well the new wording can take its place.

Request:
{prompt}

New wording:
{wording}

Answer to the request:
{completion}

5 means that the new wording asks for the same thing, with the same details, and the answer is as right for it; 3 that \
a detail is lost or added; 1 that it asks for something else, answers the request, or the answer does not fit it. \
Reply with the number only."""
PLACES = re.compile(r"\{(examples|passage|prompt|completion|wording)\}")
FENCED = re.compile(r"\A\s*```\w*\n(.*?)\n?```\s*\Z", re.DOTALL)
SCORE = re.compile(r"(?<![\w.,-])([1-5])(?![\w,]|\.\d)")


def filled(template: str, texts: Mapping[str, str]) -> str:
    """The template with texts in its places; what the texts hold is left as it is."""
    return PLACES.sub(lambda place: texts[place[1]], template)


def read_template(path: str, *, needs: tuple[str, ...], setting: str) -> str:
    """A template of the user's own.

    Raises:
        ConfigError: it cannot be read, lacks a place that it needs, or has another one.
    """
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read ({error})", where=f"{setting} {path}") from error
    found = {*PLACES.findall(text)}
    if missing := [name for name in needs if name not in found]:
        places = ", ".join(f"{{{name}}}" for name in missing)
        raise ConfigError(f"lacks {places}", where=f"{setting} {path}", remedy="write it where the text belongs")
    if foreign := sorted(found - {*needs}):
        places = ", ".join(f"{{{name}}}" for name in foreign)
        raise ConfigError(f"has {places}, which nothing fills here", where=f"{setting} {path}", remedy="leave it out")
    return text


def example(prompt: str, answer: str) -> str:
    """An example as the templates show it."""
    return json.dumps({"prompt": prompt, "completion": answer}, ensure_ascii=False)


def read_example(text: str) -> tuple[str, str] | None:
    """The prompt and the completion that an answer holds; None where it is no such JSON object.

    A completion that is an object itself is kept as JSON text.
    """
    fenced = FENCED.match(text)
    value = parse_object(fenced[1] if fenced else text)
    if value is None or value.keys() != {"prompt", "completion"}:
        return None
    prompt, completion = value["prompt"], value["completion"]
    if isinstance(completion, dict):
        completion = json.dumps(completion, ensure_ascii=False)
    if not isinstance(prompt, str) or not isinstance(completion, str) or not prompt.strip() or not completion.strip():
        return None
    return prompt.strip(), completion.strip()


def read_score(text: str) -> int | None:
    """The number from 1 to 5 that a judge gave; None where it gave none, or several that differ."""
    found = {*SCORE.findall(text.replace("/5", "").replace("out of 5", ""))}
    return int(found.pop()) if len(found) == 1 else None
