"""Texts made comparable: normal forms, words, and what two sequences of words have in common."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence


def normalize(text: str) -> str:
    """Caseless, without punctuation, with single spaces, compatibility forms unified (NFKC).

    Punctuation becomes a space, apostrophes vanish; what gives a number its value stays: the point or comma between
    two digits, and the minus before a number. Idempotent.
    """
    folded = unicodedata.normalize("NFD", text)
    for _ in range(2):  # Unicode's compatibility caseless match, definition D147
        folded = unicodedata.normalize("NFKD", folded.casefold())
    folded = unicodedata.normalize("NFKC", folded).replace("\u2212", "-")
    folded = re.sub(r"['’ʼ]", "", folded)
    kept = {match.start() for match in re.finditer(r"(?<=\d)[.,](?=\d)|(?<!\S)-(?=\d)", folded)}
    spaced = "".join(
        " " if unicodedata.category(letter).startswith("P") and place not in kept else letter
        for place, letter in enumerate(folded)
    )
    return " ".join(spaced.split())


_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+"
)


def words(text: str) -> list[str]:
    """Runs of letters and digits, caseless; Chinese characters and kana one by one. On ASCII, rouge_score's tokens."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def longest_common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """Its length, bit-parallel: one big-integer step per word (Hyyrö 2004, "Bit-parallel LCS-length computation")."""
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    every = (1 << len(first)) - 1
    state = every
    for word in second:
        common = state & places.get(word, 0)
        state = (state + common) | (state - common)
    return (~state & every).bit_count()


_SENTENCE_END = re.compile(
    r"(?<!\b[A-Z])(?<!\bMr)(?<!\bDr)(?<!\bMs)(?<!\bMrs)(?<!\bvs)(?<!\be\.g)(?<!\bi\.e)[.!?]+[\"')\]]*(?=\s|$)"
    r"|[。！？]|\n{2,}|\n(?=\s*(?:[-*•]|\d+[.)])\s)"
)


def sentences(text: str) -> list[str]:
    """A text in sentences: at full stops, question and exclamation marks, blank lines and list items."""
    found, start = [], 0
    for end in _SENTENCE_END.finditer(text):
        found.append(text[start : end.end()].strip())
        start = end.end()
    return [sentence for sentence in (*found, text[start:].strip()) if re.search(r"\w", sentence)]
