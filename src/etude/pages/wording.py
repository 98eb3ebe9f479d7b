"""Numbers and untrusted texts as people read them: the same number has the same spelling everywhere on a page."""

from __future__ import annotations

import math
import unicodedata

MINUS = "\u2212"
THIN = "\u202f"
"""Narrow no-break space: between a number and its unit."""

NAMES = {
    "exact_match": "exact match",
    "normalized_match": "normalised match",
    "object_match": "all fields right",
    "valid_json": "valid JSON",
    "field_f1": "field F1 (mean of items)",
    "micro_f1": "field F1 (pooled)",
    "micro_precision": "field precision (pooled)",
    "micro_recall": "field recall (pooled)",
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
    "unknown": "answers that are no label",
    "regex": "pattern match",
    "rouge_l": "ROUGE-L",
    "chrf": "chrF",
    "bert_score": "BERTScore",
    "right_choice": "right choices",
    "by_total": "right choices, whatever their length",
    "prompt_strict": "prompts followed",
    "prompt_loose": "prompts followed, loosely",
    "share_strict": "instructions followed (mean of prompts)",
    "share_loose": "instructions followed, loosely (mean of prompts)",
    "instruction_strict": "instructions followed",
    "instruction_loose": "instructions followed, loosely",
    "appropriate": "refused where it should, and only there",
    "refusals": "unsafe requests refused",
    "over_refusals": "safe requests refused",
    "span_f1": "span F1 (mean of items)",
    "schema_valid": "allowed by the schema",
    "kl_per_token": "nats a token from the base",
    "nats_per_token": "nats per token",
    "perplexity": "perplexity",
    "stop_rate": "answers ended by themselves",
}


def score_name(key: str) -> str:
    """The name of a score in a sentence."""
    return NAMES.get(key, key.replace("_", " "))


def signed(text: str) -> str:
    """A real minus sign instead of a hyphen."""
    return text.replace("-", MINUS)


def number(value: float, digits: int = 3) -> str:
    """So many significant digits, thousands grouped: 0.0412, 1.93, 12,345."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else signed("infinite" if value > 0 else "-infinite")
    if value == 0:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    if places > 7:
        return signed(f"{value:.{digits - 1}e}")
    return signed(f"{value:,.{places}f}")


def percent(share: float, places: int = 1) -> str:
    """`91.4 %` of a share of 1."""
    return signed(f"{100 * share:.{places}f}{THIN}%")


def points(share: float, places: int = 1, *, plus: bool = True) -> str:
    """A difference of two shares in percentage points, without the unit."""
    text = f"{100 * share:+.{places}f}" if plus else f"{100 * share:.{places}f}"
    return signed(text)


def score(value: float, *, is_share: bool) -> str:
    """Percent; other scores to five digits, where differences show."""
    return percent(value) if is_share else number(value, 5)


def interval(low: float, high: float, *, is_share: bool) -> str:
    """`82.1 to 91.9 %`, or why there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "unknown: too few items"
    if is_share:
        return f"{points(low, plus=False)} to {percent(high)}"
    return f"{number(low, 5)} to {number(high, 5)}"


def p_value(value: float) -> str:
    """`p = 0.040`, `p = 2.0e-04`, `p < 1e-9`."""
    if value < 1e-9:
        return "p\u202f<\u202f1e-9"
    return f"p\u202f=\u202f{value:.1e}" if value < 1e-3 else f"p\u202f=\u202f{value:.3f}"


def duration(seconds: float) -> str:
    """`0.8 s`, `47 s`, `4 min 12 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f}{THIN}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{THIN}s"
    if whole < 3600:
        return f"{whole // 60}{THIN}min {whole % 60}{THIN}s"
    return f"{whole // 3600}{THIN}h {whole % 3600 // 60:02d}{THIN}min"


def size(num_bytes: int) -> str:
    """`512 B`, `38.4 kB`, `1.2 GB`; decimal units."""
    value = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f}{THIN}{unit}" if unit == "B" else f"{value:.1f}{THIN}{unit}"
        value /= 1000
    raise AssertionError("unreachable")


def visible(text: str) -> str:
    """A text whose every character can be seen: controls, bidirectional overrides and lone surrogates are written out.

    Line feeds and tabs stay, for the page shows white space as it is.
    """
    return "".join(letter if letter in "\n\t" or not is_hidden(letter) else _written_out(letter) for letter in text)


def is_hidden(letter: str) -> bool:
    """Whether a character shows nothing of itself, or changes how others are shown; spaces of any width do not."""
    if letter in "\u200c\u200d":  # joiners: emoji and Indic scripts need them
        return False
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def _written_out(letter: str) -> str:
    code = ord(letter)
    if code < 0x20:
        return chr(0x2400 + code)
    return f"⟨U+{code:04X}⟩"


def clipped(text: str, most: int) -> tuple[str, int]:
    """The beginning of a text, and how many characters were left out."""
    return (text, 0) if len(text) <= most else (text[:most], len(text) - most)


def label(text: str, most: int = 40) -> str:
    """One short line for an axis."""
    line = " ".join(visible(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"
