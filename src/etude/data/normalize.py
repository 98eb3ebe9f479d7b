"""Texts made uniform: Unicode form, control characters, white space, broken encodings, HTML entities; each apart."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Mapping

from etude.data.detect import Layout
from etude.data.rows import Columns

CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2060\ufeff\ufff9-\ufffb]")
"""No text needs these: C0 and C1 controls but for tab and line breaks, zero-width spaces, byte-order marks."""
LINE_BREAK = re.compile("\r\n?|[\u2028\u2029]")
ODD_SPACE = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
TRAILING = re.compile(r"[ \t]+(?=\n)")
BLANK_LINES = re.compile(r"\n{4,}")
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
MOJIBAKE = re.compile("[\u0080-\u00ff\u0152-\u0161\u0178-\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122\ufffd]")
"""Characters without which no text is UTF-8 that was read as a Western 8-bit encoding."""
NOT_TEXT = frozenset(("role", "from", "name", "id", "type", "tool_call_id", "image", "image_url", "path", "arguments"))
"""Keys inside messages whose values are no prose."""
FIELDS_WITHOUT_TEXT = frozenset(("group", "margin", "judgement", "tools", "relevant"))

Change = Callable[[str], str]


def unicode_form(text: str) -> str:
    """The composed form (NFC), which tokenizers know."""
    return unicodedata.normalize("NFC", text)


def encoding(text: str) -> str:
    """Text that was decoded wrongly (`CafÃ©`), read again as what it was."""
    if not MOJIBAKE.search(text):
        return text
    from ftfy import fix_encoding

    return fix_encoding(text)


def entities(text: str) -> str:
    """`&amp;` as `&`, where the text is neither markup (it has no `<`) nor JSON, whose quotes would break."""
    if "<" in text or text.lstrip()[:1] in ("{", "["):
        return text
    return ENTITY.sub(lambda found: html.unescape(found[0]), text)


def controls(text: str) -> str:
    """Without control characters and those of no width (joiners, which scripts and emoji need, stay)."""
    return CONTROL.sub("", text)


def spaces(text: str) -> str:
    """Plain spaces and line breaks, none at the ends of lines and of the text, at most two blank lines.

    Indentation and spaces between words stay.
    """
    text = ODD_SPACE.sub(" ", LINE_BREAK.sub("\n", text))
    return BLANK_LINES.sub("\n\n\n", TRAILING.sub("", text)).strip(" \t\n")


CHANGES: Mapping[str, tuple[Change, str]] = {
    "encoding": (encoding, "broken encoding mended"),
    "entities": (entities, "HTML entities replaced"),
    "controls": (controls, "control characters removed"),
    "unicode": (unicode_form, "Unicode composed (NFC)"),
    "spaces": (spaces, "white space made uniform"),
}
"""Setting → what it does, and how that is counted; in the order in which they are applied."""


def normalized(text: str, chosen: tuple[str, ...], counted: set[str]) -> str:
    """The text with the chosen changes; what changed something is added to `counted`."""
    for name in chosen:
        change, words = CHANGES[name]
        made = change(text)
        if made != text:
            counted.add(words)
            text = made
    return text


def edited(columns: Columns, layout: Layout, edit: Change) -> Columns:
    """The columns with every text that training reads edited; the same object where nothing changes."""
    names = {
        column for field, feed in layout.feeds.items() if field not in FIELDS_WITHOUT_TEXT for column in feed.columns
    }
    made = {name: _edited(value, edit) if name in names else value for name, value in columns.items()}
    return columns if made == columns else made


def _edited(value: object, edit: Change) -> object:
    if isinstance(value, str):
        return edit(value)
    if isinstance(value, list):
        return [_edited(item, edit) for item in value]
    if isinstance(value, dict):
        return {key: item if key in NOT_TEXT else _edited(item, edit) for key, item in value.items()}
    return value
