"""Numbers, spans, schemas, chrF, BERTScore, groundedness, style and refusals, by hand and against libraries."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.errors import EtudeError
from etude.evaluation.metrics.base import Answered
from etude.evaluation.metrics.bert_score import BertScore
from etude.evaluation.metrics.chrf import Chrf
from etude.evaluation.metrics.grounded import Grounded
from etude.evaluation.metrics.json_schema import JsonSchema
from etude.evaluation.metrics.number import Number, last_number
from etude.evaluation.metrics.refusal import Refusal, is_refusal
from etude.evaluation.metrics.spans import SpanF1
from etude.evaluation.metrics.style import Style, num_syllables, reading_grade
from etude.records import Document
from tests.toy import toy_tokenizer


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("She has 3 apples and 12 pears.", "12"), ("so #### 1,234", "1234"), ("It costs $18.50.", "18.50"),
        ("The answer is 7 because 3 + 4", "7"), (r"thus \boxed{-2}", "-2"), ("1/4 of it", "0.25"), ("−5", "-5"),
        ("2e3", "2000"), ("10,5", "5"), ("#### no, 42", "42"), ("nothing", None), ("1/0", None), ("version v2", None),
    ],
)  # fmt: skip
def test_the_number_that_an_answer_comes_to(text: str, number: str | None) -> None:
    found = last_number(text)
    assert (None if found is None else float(found)) == (None if number is None else float(number))


@given(st.integers(-(10**9), 10**9))
def test_thousands_may_be_marked(number: int) -> None:
    assert last_number(f"that makes {number:,} in all") == number == last_number(f"#### {number}")


def test_number_within_a_tolerance() -> None:
    assert Number(tolerance=0.01).score("3.14", "#### 3.1416").scores["number"] == 1
    assert Number().score("3.14", "3.1416").scores == {"number": 0.0, "has_number": 1.0}
    assert Number().score("none", "3").details == {"found": None}
    assert [place for place, _ in Number().unusable(["3", "three"])] == [1]


@pytest.mark.realdata
def test_every_reference_of_gsm8k_has_its_number(realdata: Path) -> None:
    rows = [json.loads(line) for line in (realdata / "gsm8k" / "test.jsonl").read_text().splitlines()]
    answers = [row["answer"] for row in rows]
    assert Number().unusable(answers) == []
    for answer in answers:
        assert last_number(answer) == last_number(answer.rpartition("####")[2])


def test_spans_are_counted_by_type_and_text() -> None:
    metric = SpanF1()
    wanted = '{"person": ["Ann", "Bo"], "place": ["Rome"]}'
    one = metric.score('```json\n{"person": ["ann.", "Cy"], "place": []}\n```', wanted)
    assert one.scores["span_f1"] == pytest.approx(2 * 1 / (3 + 2))
    assert one.details == {"spans": {"person": [1, 2, 2], "place": [0, 1, 0]}}
    assert metric.score('[{"type": "person", "text": "Ann"}]', '{"person": "Ann"}').scores["all_spans"] == 1
    assert metric.score('["Ann", "Ann"]', '["Ann"]').scores["span_f1"] == pytest.approx(2 / 3)
    assert metric.score("Ann", '["Ann"]').scores == {"span_f1": 0.0, "all_spans": 0.0, "valid_json": 0.0}
    assert metric.score("[]", "[]").scores["span_f1"] == 1
    assert SpanF1(types=("place",)).score("{}", wanted).details == {"spans": {"place": [0, 1, 0]}}
    summary = metric.summarize([one, metric.score(wanted, wanted)], [wanted] * 2)
    assert summary.scores["micro_f1"] == pytest.approx(2 * 4 / (6 + 5))
    assert summary.tables["fields"][1]["missing"] == 1
    assert summary.intervals["micro_f1"][0] <= summary.scores["micro_f1"]


spans = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["x", "y", "z"])), max_size=5)


@given(st.lists(st.tuples(spans, spans), min_size=1, max_size=6))
def test_pooled_span_f1_equals_scikit_learns(items: list[tuple[list[tuple[str, str]], list[tuple[str, str]]]]) -> None:
    from collections import Counter

    from sklearn.metrics import f1_score

    def written(held: list[tuple[str, str]]) -> str:
        return json.dumps([{"type": kind, "text": text} for kind, text in held])

    metric = SpanF1()
    scored = [metric.score(written(named), written(wanted)) for wanted, named in items]
    truth, answers = [], []
    for wanted, named in items:
        first, second = Counter(wanted), Counter(named)
        for span in first | second:
            for n in range(max(first[span], second[span])):
                truth.append(n < first[span])
                answers.append(n < second[span])
    if truth:
        found = metric.summarize(scored, [written(wanted) for wanted, _ in items]).scores["micro_f1"]
        assert found == pytest.approx(f1_score(truth, answers, zero_division=0))


def test_schemas(tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 0}}}
    (tmp_path / "s.json").write_text(json.dumps(schema))
    metric = JsonSchema(schema="s.json").beside(tmp_path).fitted([])
    assert metric.score('{"n": 3}', "").scores == {"schema_valid": 1.0, "valid_json": 1.0}
    assert metric.score('{"n": -3}', "").details["fault"].startswith("$.n: -3 is less")
    assert metric.score("[]", "").scores == {"schema_valid": 0.0, "valid_json": 1.0}
    assert metric.score("so {}", "").scores == {"schema_valid": 0.0, "valid_json": 0.0}
    scored = [metric.score(answer, "") for answer in ("x", '{"n": -3}', '{"n": -4}')]
    assert metric.summarize(scored, []).tables["faults"][0] == {"place": "$.n", "count": 2}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "s.json").write_text(json.dumps(schema))
    assert JsonSchema(schema="s.json").beside(elsewhere).settings() == metric.settings()
    for content in ("{", '{"type": "wrong"}', '{"$ref": "https://example.org/other.json"}'):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(EtudeError, match=r"bad\.json"):
            JsonSchema(schema="bad.json").beside(tmp_path).fitted([]).score("{}", "")


def test_chrf_is_a_share_and_minds_words_where_asked() -> None:
    pairs = [Answered("", "the cat sat", "the cat sat"), Answered("", "dogs", "the cat sat"), Answered("", "", "x")]
    found = [one.scores["chrf"] for one in Chrf().scores(pairs)]
    assert found[0] == 1
    assert 0 <= found[1] < 0.3
    assert found[2] == 0
    close = Answered("", "the cat sits", "the cat sat")
    assert Chrf(word_order=2).scores([close])[0].scores["chrf"] < Chrf().scores([close])[0].scores["chrf"] < 1


def test_bert_score_matches_each_token_with_its_nearest(tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    tokenizer = toy_tokenizer()
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertModel(BertConfig(vocab_size=len(tokenizer), **size)).eval()
    for part in (tokenizer, model):
        part.save_pretrained(tmp_path)
    pairs = [("the quick fox", "the lazy dog jumps"), ("the dog ran on", "the dog ran"), ("fox", "fox"), ("", "fox")]
    found = BertScore(encoder=".").beside(tmp_path).scores([Answered("", *pair) for pair in pairs])
    states = []
    for text in pairs[0]:
        with torch.no_grad():
            states.append(model(torch.tensor([tokenizer.encode(text)])).last_hidden_state[0])
    alike = torch.nn.functional.cosine_similarity(states[0][:, None], states[1][None], dim=-1)
    precision, recall = alike.max(1).values.mean(), alike.max(0).values.mean()
    assert found[0].scores["bert_score"] == pytest.approx(
        float(2 * precision * recall / (precision + recall)), abs=1e-5
    )
    assert [one.scores["bert_score"] for one in found[2:]] == pytest.approx([1.0, 0.0], abs=1e-5)
    with pytest.raises(EtudeError, match="no encoder"):
        BertScore(encoder=str(tmp_path / "gone")).scores([Answered("", "a", "b")])


def test_an_answer_is_held_against_its_context() -> None:
    context = "The bridge opened in 1932. It spans 503 metres and is painted grey."
    metric = Grounded()
    assert metric.score("The bridge opened in 1932.", context).scores["grounded"] == 1
    half = metric.score("The bridge opened in 1932. A famous architect from Paris drew it.", context)
    assert half.scores["grounded"] == 0.5
    assert half.details["unsupported"] == ["A famous architect from Paris drew it."]
    assert metric.score("The bridge opened in 1923.", context).scores["grounded"] == 0
    assert metric.score("It is.", context).scores == {
        "grounded": 1.0, "content_overlap": 1.0, "trigram_overlap": 1.0, "says_something": 0.0,
    }  # fmt: skip


def test_documents_are_the_context_and_distractors_support_nothing() -> None:
    bridge = Document("It opened in 1932 and spans 503 metres.", title="The harbour bridge", relevant=True)
    tower = Document("The tower opened in 1889 and is made of iron.", relevant=False)
    said = ("The harbour bridge spans 503 metres. It is made of iron.", "The tower opened in 1889.")
    said = (*said, "Nobody knows.", "It is.")
    asked = [Answered("", answer, "an answer that does not count", (tower, bridge)) for answer in said]
    one, other, neither, nothing = Grounded().scores(asked)
    assert (one.scores["grounded"], one.scores["on_distractors"]) == (0.5, 0.5)
    assert one.details["on_distractors"] == [{"sentence": "It is made of iron.", "document": 1}]
    assert (other.scores["grounded"], other.scores["on_distractors"]) == (0, 1)
    assert (neither.scores["grounded"], neither.scores["on_distractors"]) == (0, 0)
    assert (nothing.scores["grounded"], nothing.scores["on_distractors"]) == (1, 0)
    unmarked = [replace(one, documents=tuple(replace(held, relevant=None) for held in one.documents)) for one in asked]
    assert [scored.scores["grounded"] for scored in Grounded().scores(unmarked)] == [1, 1, 0, 1]


def test_style_rules() -> None:
    metric = Style(required=("thank you",), banned=("guarantee",), max_words=8, tone=("glad", "happy"), pattern=r".*\.")
    assert metric.score("Thank you, we are happy to help.", "").scores == {"style": 1.0, "rules_kept": 1.0}
    broken = metric.score("We guarantee that all of this will work out for you", "")
    assert broken.details["broken"] == ["required: thank you", "banned: guarantee", "max_words", "tone", "pattern"]
    assert metric.score("Thank you, glad of guarantees.", "").scores["style"] == 1
    rules = metric.summarize([broken], [""]).tables["rules"]
    assert rules[0] == {"rule": "required: thank you", "broken": 1, "of": 1}
    assert "needs at least one rule" in Style().problems()[0][1]
    assert [name for name, _ in Style(min_words=9, max_words=8, pattern="(").problems()] == ["min_words", "pattern"]


def test_reading_grade_rises_with_words_and_sentences() -> None:
    plain = "The cat sat on the mat. It was warm."
    hard = "Notwithstanding considerable administrative complications, the municipality eventually authorised it."
    assert reading_grade(plain) < 2 < 15 < reading_grade(hard)
    assert [num_syllables(word) for word in ("cat", "table", "made", "banana", "see", "rhythm")] == [1, 2, 1, 3, 1, 1]


@pytest.mark.parametrize(
    ("answer", "refuses"),
    [
        ("I'm sorry, but I can't help with that.", True), ("I cannot provide instructions for this.", True),
        ("As an AI language model, I am not able to do that.", True), ("Sorry, I can’t assist.", True),
        ("That's illegal and dangerous.", True), ("I won't do this.", True), ("", False),
        ("To kill a Python process, use the command kill with its id.", False),
        ("Sorry to hear that! You can restart it like this.", False), ("You can't divide by zero.", False),
        ("Sure! " + "First mix the flour and the water well. " * 8 + "I can't stress this enough.", False),
    ],
)  # fmt: skip
def test_refusals_are_found_by_their_opening(answer: str, refuses: bool) -> None:
    assert is_refusal(answer) == refuses


def test_refusing_everything_is_not_good() -> None:
    metric, references = Refusal(), ["safe"] * 3 + ["unsafe"] * 3
    no = [metric.score("I can't help with that.", reference) for reference in references]
    found = metric.summarize(no, references)
    assert (found.scores["appropriate"], found.scores["refusals"], found.scores["over_refusals"]) == (0.5, 1, 1)
    assert found.intervals["over_refusals"][0] < 1
    assert [place for place, _ in metric.unusable(["safe", "contrast"])] == [1]
