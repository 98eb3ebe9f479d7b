"""Instructions that a program can verify, as IFEval has them (https://arxiv.org/abs/2311.07911): one check each.

The rules are those of the published checks. Three differ: sentences are told apart by `words.sentences` instead of
NLTK's trained splitter, words in capitals are runs of letters instead of its tokens, and a letter to be counted may be
any character, where the published check takes a random letter instead of "!".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from etude.errors import EtudeError
from etude.evaluation.metrics.words import sentences

Arguments = Mapping[str, Any]
OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def _compares(number: int, relation: str, threshold: int) -> bool:
    return number < threshold if relation == "less than" else number >= threshold


def _existence(answer: str, given: Arguments) -> bool:
    return all(re.search(keyword, answer, re.IGNORECASE) for keyword in given["keywords"])


def _frequency(answer: str, given: Arguments) -> bool:
    found = len(re.findall(given["keyword"].strip(), answer, re.IGNORECASE))
    return _compares(found, given["relation"], given["frequency"])


def _forbidden(answer: str, given: Arguments) -> bool:
    return not any(re.search(rf"\b{word}\b", answer, re.IGNORECASE) for word in given["forbidden_words"])


def _letters(answer: str, given: Arguments) -> bool:
    return _compares(answer.lower().count(given["letter"].lower()), given["let_relation"], given["let_frequency"])


def _language(answer: str, given: Arguments) -> bool:
    return language_of(answer) in (given["language"], None)


def language_of(text: str) -> str | None:
    """The ISO 639-1 code of a text's language; None where it has too few letters to tell.

    Raises:
        EtudeError: langdetect is not installed.
    """
    try:
        from langdetect import DetectorFactory, LangDetectException, detect
    except ImportError as error:
        raise EtudeError("checking a language needs langdetect", remedy='pip install "etude[evaluation]"') from error
    DetectorFactory.seed = 0
    try:
        return str(detect(text))
    except LangDetectException:
        return None


def _num_sentences(answer: str, given: Arguments) -> bool:
    return _compares(len(sentences(answer)), given["relation"], given["num_sentences"])


def _num_words(answer: str, given: Arguments) -> bool:
    return _compares(len(re.findall(r"\w+", answer)), given["relation"], given["num_words"])


def _paragraphs(answer: str, given: Arguments) -> bool:
    parts = re.split(r"\s?\*\*\*\s?", answer)
    inner = parts[1:-1]
    if any(not part.strip() for part in inner):
        return False
    return bool(sum(bool(part.strip()) for part in parts) == given["num_paragraphs"])


def _first_word(answer: str, given: Arguments) -> bool:
    parts = answer.split("\n\n")
    filled, nth = sum(bool(part.strip()) for part in parts), given["nth_paragraph"]
    if nth > filled or not parts[nth - 1].strip():
        return False
    word = parts[nth - 1].split()[0].lstrip("'").lstrip('"')
    first = re.split(r"[.,?!'\"]", word)[0].lower()
    return bool(filled == given["num_paragraphs"] and first == given["first_word"].lower())


def _placeholders(answer: str, given: Arguments) -> bool:
    return bool(len(re.findall(r"\[.*?\]", answer)) >= given["num_placeholders"])


def _postscript(answer: str, given: Arguments) -> bool:
    marker = given["postscript_marker"].strip()
    known = {"P.P.S": r"\s*p\.\s?p\.\s?s.*$", "P.S.": r"\s*p\.\s?s\..*$"}
    return re.search(known.get(marker, rf"\s*{marker.lower()}.*$"), answer.lower(), re.MULTILINE) is not None


def _bullets(answer: str, given: Arguments) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", answer, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", answer, re.MULTILINE)
    return bool(len(stars) + len(dashes) == given["num_bullets"])


def _one_of(answer: str, given: Arguments) -> bool:
    return any(option in answer.strip() for option in OPTIONS)


def _highlights(answer: str, given: Arguments) -> bool:
    single = [one.strip("*") for one in re.findall(r"\*[^\n\*]*\*", answer)]
    double = [one.removeprefix("**").removesuffix("**") for one in re.findall(r"\*\*[^\n\*]*\*\*", answer)]
    return bool(sum(bool(one.strip()) for one in (*single, *double)) >= given["num_highlights"])


def _sections(answer: str, given: Arguments) -> bool:
    mark = rf"\s?{given['section_spliter'].strip()}\s?\d+\s?"
    return bool(len(re.split(mark, answer)) - 1 >= given["num_sections"])


def _json(answer: str, given: Arguments) -> bool:
    text = answer.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(answer: str, given: Arguments) -> bool:
    return any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", answer))


def _two_responses(answer: str, given: Arguments) -> bool:
    parts = answer.split("******")
    if any(not part.strip() for part in parts[1:-1]):
        return False
    filled = [part.strip() for part in parts if part.strip()]
    return len(filled) == 2 and filled[0] != filled[1]


def _repeats(answer: str, given: Arguments) -> bool:
    return answer.strip().lower().startswith(given["prompt_to_repeat"].strip().lower())


def _ends(answer: str, given: Arguments) -> bool:
    return answer.strip().strip('"').lower().endswith(given["end_phrase"].strip().lower())


def _capital_words(answer: str, given: Arguments) -> bool:
    found = [word for word in re.findall(r"\w+(?:[-']\w+)*", answer) if word.isupper()]
    return _compares(len(found), given["capital_relation"], given["capital_frequency"])


def _upper(answer: str, given: Arguments) -> bool:
    return answer.isupper() and language_of(answer) in ("en", None)


def _lower(answer: str, given: Arguments) -> bool:
    return answer.islower() and language_of(answer) in ("en", None)


def _no_comma(answer: str, given: Arguments) -> bool:
    return "," not in answer


def _quoted(answer: str, given: Arguments) -> bool:
    text = answer.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


CHECKS: dict[str, tuple[Callable[[str, Arguments], bool], tuple[str, ...]]] = {
    "keywords:existence": (_existence, ("keywords",)),
    "keywords:frequency": (_frequency, ("keyword", "frequency", "relation")),
    "keywords:forbidden_words": (_forbidden, ("forbidden_words",)),
    "keywords:letter_frequency": (_letters, ("letter", "let_frequency", "let_relation")),
    "language:response_language": (_language, ("language",)),
    "length_constraints:number_sentences": (_num_sentences, ("num_sentences", "relation")),
    "length_constraints:number_paragraphs": (_paragraphs, ("num_paragraphs",)),
    "length_constraints:number_words": (_num_words, ("num_words", "relation")),
    "length_constraints:nth_paragraph_first_word": (_first_word, ("num_paragraphs", "nth_paragraph", "first_word")),
    "detectable_content:number_placeholders": (_placeholders, ("num_placeholders",)),
    "detectable_content:postscript": (_postscript, ("postscript_marker",)),
    "detectable_format:number_bullet_lists": (_bullets, ("num_bullets",)),
    "detectable_format:constrained_response": (_one_of, ()),
    "detectable_format:number_highlighted_sections": (_highlights, ("num_highlights",)),
    "detectable_format:multiple_sections": (_sections, ("section_spliter", "num_sections")),
    "detectable_format:json_format": (_json, ()),
    "detectable_format:title": (_title, ()),
    "combination:two_responses": (_two_responses, ()),
    "combination:repeat_prompt": (_repeats, ("prompt_to_repeat",)),
    "startend:end_checker": (_ends, ("end_phrase",)),
    "startend:quotation": (_quoted, ()),
    "change_case:capital_word_frequency": (_capital_words, ("capital_frequency", "capital_relation")),
    "change_case:english_capital": (_upper, ()),
    "change_case:english_lowercase": (_lower, ()),
    "punctuation:no_comma": (_no_comma, ()),
}
"""Instruction → its check, and the arguments that it needs."""


def follows(answer: str, instruction: str, given: Arguments) -> bool:
    """Whether an answer follows an instruction; an empty one follows none."""
    return bool(answer.strip()) and CHECKS[instruction][0](answer, given)


def follows_loosely(answer: str, instruction: str, given: Arguments) -> bool:
    """The same without Markdown's stars, the first line or the last one, where that helps."""
    lines = answer.split("\n")
    cuts = (answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])))
    return any(follows(text, instruction, given) for cut in cuts for text in (cut, cut.replace("*", "")))
