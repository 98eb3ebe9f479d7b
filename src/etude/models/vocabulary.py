"""Two models with different tokenizers on one text: which tokens are the same, and how one reads the other's.

Shape letters: T tokens of a tree, K tokens that both vocabularies have.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from etude.batch import Batch, Segment
from etude.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LEAST_SHARED = 0.25
"""Share of the student's vocabulary below which two models have too little in common."""
BYTE = re.compile(r"<0x([0-9A-F]{2})>")
ROLES = ("eos_token_id", "bos_token_id")
"""Control tokens that mean the same whatever they are called."""

Encode = Callable[[str], Sequence[int]]
"""A text without control tokens in the teacher's tokens."""


@dataclass(frozen=True, slots=True)
class SharedVocabulary:
    """What a student's tokens are to a teacher with another tokenizer."""

    mine_K: Tensor
    """Ids of the shared tokens, the student's."""
    its_K: Tensor
    """And the teacher's."""
    readings: tuple[tuple[int, ...], ...]
    """For each id of the student's, what the teacher reads: its token of equal text, or its own tokens of that text."""

    def read(self, batch: Batch) -> Batch:
        """The same tree in the teacher's tokens: each token becomes one or more, its sites stay behind the last."""
        parts = [self.readings[token] for token in batch.tokens_T.tolist()]
        starts = torch.tensor([0, *accumulate(map(len, parts))])
        where = batch.tokens_T.device
        segments = tuple(Segment(int(starts[s.start]), int(starts[s.stop]), s.parent) for s in batch.segments)
        ends = starts[batch.end_T.cpu()].repeat_interleave(starts.diff())
        return replace(
            batch,
            tokens_T=torch.tensor([token for part in parts for token in part], device=where),
            position_T=_positions(segments).to(where),
            end_T=ends.to(where),
            site_S=(starts[batch.site_S.cpu() + 1] - 1).to(where),
            segments=segments,
        )


def _positions(segments: tuple[Segment, ...]) -> Tensor:
    """Distance from the root; a segment goes on where its parent ends."""
    depths: list[int] = []
    parts = []
    for segment in segments:
        depth = depths[segment.parent] if segment.parent >= 0 else 0
        parts.append(torch.arange(depth, depth + segment.stop - segment.start))
        depths.append(depth + segment.stop - segment.start)
    return torch.cat(parts)


def shared_vocabulary(
    mine: PreTrainedTokenizerBase, its: PreTrainedTokenizerBase, encode: Encode, *, names: tuple[str, str]
) -> SharedVocabulary:
    """Tokens of equal text, and of equal role among control tokens; the teacher reads others as `encode` says.

    Raises:
        ModelError: they share too little; `names` of student and teacher are for this error.
    """
    my_texts, its_texts = token_texts(mine), token_texts(its)
    by_text: dict[bytes | str, int] = {}
    for token, text in sorted(its_texts.items()):
        by_text.setdefault(text, token)
    same = {token: by_text[text] for token, text in sorted(my_texts.items()) if text in by_text}
    for role in ROLES:
        one, other = getattr(mine, role), getattr(its, role)
        if isinstance(one, int) and isinstance(other, int):
            same.setdefault(one, other)
    share = len(same) / max(1, len(my_texts))
    if share < LEAST_SHARED:
        raise ModelError(
            f"has {share:.0%} of the tokens of {names[0]}, too few to distil on (at least {LEAST_SHARED:.0%})",
            where=names[1],
            remedy="let it write answers to imitate: etude data synthesize",
        )
    unknown = its.unk_token_id if isinstance(its.unk_token_id, int) else 0
    readings: list[tuple[int, ...]] = [(unknown,)] * (max(my_texts) + 1)
    for token, text in my_texts.items():
        readings[token] = (same[token],) if token in same else _spelt(text, by_text, encode) or (unknown,)
    unique = {other: one for one, other in reversed(same.items())}  # the student's first of several
    return SharedVocabulary(torch.tensor(list(unique.values())), torch.tensor(list(unique)), tuple(readings))


def _spelt(text: bytes | str, by_text: Mapping[bytes | str, int], encode: Encode) -> tuple[int, ...]:
    """A token in the teacher's words: a control token by its name, a piece of a character byte by byte."""
    if isinstance(text, str):
        return tuple(encode(text))
    try:
        return tuple(encode(text.decode("utf-8")))
    except UnicodeDecodeError:
        single = [by_text.get(bytes([byte])) for byte in text]
        known = tuple(token for token in single if token is not None)
        return known if len(known) == len(single) else tuple(encode(text.decode("utf-8", "replace")))


def token_texts(tokenizer: PreTrainedTokenizerBase) -> dict[int, bytes | str]:
    """What each token writes: bytes, or the name of a control token (as text)."""
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    control = {int(token["id"]): str(token["content"]) for token in backend["added_tokens"]}
    in_bytes = "ByteLevel" in json.dumps(backend["decoder"])
    letters = {letter: byte for byte, letter in _letters().items()}
    found: dict[int, bytes | str] = {}
    for name, token in tokenizer.get_vocab().items():
        if token in control:
            found[token] = control[token]
        elif in_bytes:
            found[token] = bytes(letters[letter] for letter in name if letter in letters)
        elif piece := BYTE.fullmatch(name):
            found[token] = bytes([int(piece[1], 16)])
        else:
            found[token] = name.replace("\u2581", " ").encode()
    return found


def _letters() -> dict[int, str]:
    """The printable letter that stands for each byte in byte-level vocabularies (openai/gpt-2, encoder.py)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("\xa1"), ord("\xac") + 1), *range(ord("\xae"), 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + at) for at, byte in enumerate(others)}
