"""A token classification model as a finder of names, places and organisations, from any folder of transformers'."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from etude.data.redaction.detect import Finder
from etude.errors import DataError

LABELS = {
    "PER": "name", "PERSON": "name", "NAME": "name", "LOC": "place", "LOCATION": "place", "GPE": "place",
    "FAC": "place", "ORG": "organisation", "ORGANIZATION": "organisation", "EMAIL": "email", "PHONE": "phone",
    "ADDRESS": "address", "STREET_ADDRESS": "address", "DATE": "date",
}  # fmt: skip
"""What models call our kinds, after `B-` and `I-`."""
LEAST_SCORE = 0.5
WINDOW_CHARACTERS = 1_000


def model_finder(path: str) -> Finder:
    """A finder from a model's folder.

    Raises:
        DataError: there is no such model, it is not in safetensors, or none of its labels is known.
    """
    import torch
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    if not Path(path).is_dir():
        raise DataError("no such folder", where=path, remedy="give the folder of a token classification model")
    try:
        model = AutoModelForTokenClassification.from_pretrained(path, use_safetensors=True, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"no token classification model: {first}", where=path, remedy="look at its files") from None
    names = {_bare(label) for label in model.config.id2label.values()}
    if not names & LABELS.keys():
        remedy = f"use one whose labels are among {', '.join(LABELS)}"
        raise DataError(f"none of its labels is known: {', '.join(sorted(names))}", where=path, remedy=remedy)
    kinds = [LABELS.get(_bare(model.config.id2label[at])) for at in range(len(model.config.id2label))]
    model.eval()

    def find(text: str) -> Iterator[tuple[int, int, str]]:
        for offset, window in _windows(text):
            encoded = tokenizer(window, return_offsets_mapping=True, return_tensors="pt", truncation=True)
            places = encoded.pop("offset_mapping")[0].tolist()
            with torch.inference_mode():
                scores, labels = model(**encoded).logits[0].float().softmax(-1).max(-1)
            judged = zip(scores.tolist(), labels.tolist(), strict=True)
            said = [kinds[label] if score >= LEAST_SCORE else None for score, label in judged]
            for start, stop, kind in _joined(places, said, window):
                yield offset + start, offset + stop, kind

    return find


def _bare(label: str) -> str:
    """`PER` of `B-PER`."""
    return label.split("-", 1)[-1].upper()


def _joined(places: Sequence[Sequence[int]], kinds: Sequence[str | None], text: str) -> Iterator[tuple[int, int, str]]:
    """Pieces of words of one kind with nothing but spaces between them, as one."""
    held: tuple[int, int, str] | None = None
    for (start, stop), kind in zip(places, kinds, strict=True):
        if held and kind == held[2] and not text[held[1] : start].strip():
            held = (held[0], stop, held[2])
            continue
        if held:
            yield held
        held = (start, stop, kind) if kind and stop > start else None
    if held:
        yield held


def _windows(text: str) -> Iterator[tuple[int, str]]:
    """Pieces that a model can read at once, cut at a space."""
    start = 0
    while start < len(text):
        stop = start + WINDOW_CHARACTERS
        if stop < len(text):
            stop = max(text.rfind(" ", start, stop), text.rfind("\n", start, stop)) + 1 or stop
            stop = stop if stop > start else start + WINDOW_CHARACTERS
        yield start, text[start:stop]
        start = stop
