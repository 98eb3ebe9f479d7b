"""A tokenizer without its control tokens: whatever text it is given, no control id can come out.

The copy has no added tokens, and a model vocabulary in which their strings are renamed to something no text contains
(a Unigram model, or BPE that looks whole words up, would else find `</s>` in its vocabulary).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from etude.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

NO_TEXT = "\U0010fffd"
"""A non-character range's neighbour that begins the renamed entries; it is split into bytes or unknowns in any text."""
PROBE = "hello world"


class PlainTokenizer:
    """Encodes text as the tokenizer would between two control tokens, but never to one of them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.full = _backend(tokenizer)
        raw: dict[str, Any] = json.loads(self.full.to_str())
        added = {str(token["content"]): int(token["id"]) for token in raw["added_tokens"]}
        self.control_ids = frozenset(added.values()) | frozenset(int(token) for token in tokenizer.all_special_ids)
        raw["added_tokens"], raw["post_processor"], raw["truncation"], raw["padding"] = [], None, None, None
        unknown = _rename(raw["model"], added)
        self.forbidden_ids = self.control_ids - {unknown}
        """What no text may yield: all control ids but the one for characters that the vocabulary cannot write."""
        spelt = [content for content in added if content.strip()]
        self._spelt = re.compile("|".join(map(re.escape, spelt))) if spelt else None
        self._after_space = _build(raw)
        self._bare = _build(_without_prefix(raw))
        self.prefix_at_start = self._prefixed("")
        """Whether a text's first piece gets the leading space of SentencePiece-like tokenizers."""
        self.prefix_after_control = self._prefixed(_joint(self.full, added))

    def encode(self, texts: Sequence[str], *, prefix: bool = False) -> list[list[int]]:
        """Token ids of each text; `prefix` adds the leading space that such tokenizers put before a text."""
        tokenizer = self._after_space if prefix else self._bare
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self.full.decode(list(tokens), skip_special_tokens=False))

    def controls(self, literal: str) -> list[tuple[int, int, int]]:
        """(start, stop, id) of every control token in a text that may hold some: a template's literal."""
        encoding = self.full.encode(literal, add_special_tokens=False)
        spans = zip(encoding.ids, encoding.offsets, strict=True)
        return [(start, stop, token) for token, (start, stop) in spans if token in self.forbidden_ids]

    def cut_left(self, text: str, num_tokens: int) -> str:
        """The text without its first `num_tokens` tokens."""
        offsets = self._bare.encode(text, add_special_tokens=False).offsets
        return text[offsets[num_tokens][0] :] if num_tokens < len(offsets) else ""

    def spells_control(self, text: str) -> bool:
        """Whether a text contains the spelling of a control token (white space that has a token of its own apart)."""
        return self._spelt is not None and self._spelt.search(text) is not None

    def _prefixed(self, before: str) -> bool:
        given = self.full.encode(before + PROBE, add_special_tokens=False).ids
        head = len(self.full.encode(before, add_special_tokens=False).ids) if before else 0
        with_prefix, bare = (self.encode([PROBE], prefix=prefix)[0] for prefix in (True, False))
        return with_prefix != bare and given[head:] == with_prefix


def _backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    if not tokenizer.is_fast:
        raise ModelError(
            f"the tokenizer {type(tokenizer).__name__} does not run on the tokenizers library",
            where=str(tokenizer.name_or_path),
            remedy="use a model whose folder has a tokenizer.json",
        )
    backend: Tokenizer = tokenizer.backend_tokenizer
    return backend


def _joint(full: Tokenizer, added: dict[str, int]) -> str:
    """A control token to probe behind: one that is found in text and eats no white space."""
    for content, token in added.items():
        if full.encode(content + PROBE, add_special_tokens=False).ids[:1] == [token] and content.strip():
            return content
    return ""


def _build(raw: dict[str, Any]) -> Tokenizer:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(json.dumps(raw))


def _rename(model: dict[str, Any], added: dict[str, int]) -> int | None:
    """Make the added tokens' entries unreachable in the model's vocabulary; returns the id of unknown characters."""
    if model["type"] == "Unigram":
        renamed = {token: f"{NO_TEXT}{token}" for token in added.values()}
        model["vocab"] = [[renamed.get(at, piece), score] for at, (piece, score) in enumerate(model["vocab"])]
        unknown: int | None = model.get("unk_id")
        return unknown
    vocabulary: dict[str, int] = model["vocab"]
    written = model.get("unk_token")
    unknown = vocabulary.get(written) if written is not None else None
    names = {content: f"{NO_TEXT}{token}" for content, token in added.items() if content in vocabulary}
    model["vocab"] = {names.get(piece, piece): token for piece, token in vocabulary.items()}
    if written in names:
        model["unk_token"] = names[written]
    if "merges" in model:
        model["merges"] = [merge for merge in model["merges"] if not _touches(merge, names)]
    return unknown


def _touches(merge: str | list[str], names: dict[str, str]) -> bool:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left in names or right in names or left + right in names


def _without_prefix(raw: dict[str, Any]) -> dict[str, Any]:
    """The same tokenizer, putting no space before a text: for what follows other text without a break."""
    bare: dict[str, Any] = json.loads(json.dumps(raw))
    steps = [*_steps(bare["pre_tokenizer"], "pretokenizers"), *_steps(bare["normalizer"], "normalizers")]
    for step in steps:
        if step["type"] == "Metaspace":
            step["prepend_scheme"] = "never"
            step.pop("add_prefix_space", None)
        elif step["type"] == "ByteLevel":
            step["add_prefix_space"] = False
        elif step["type"] == "Prepend":
            step["prepend"] = ""
    return bare


def _steps(step: dict[str, Any] | None, inner: str) -> list[dict[str, Any]]:
    return [] if step is None else [step, *step.get(inner, [])]
