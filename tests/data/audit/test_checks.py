"""Each kind of fault is found on the very lines where it stands, and not on the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etude.data.audit.answers import form
from etude.data.audit.groups import REFUSAL
from etude.data.audit.labels import LabelTable
from etude.data.audit.languages import UNKNOWN, language
from etude.data.audit.toxicity import toxic
from etude.errors import DataError
from tests.data.audit.made import asked, audited, lines, names, of, pairs, written


def test_rows_without_a_fault_are_silent(tmp_path: Path) -> None:
    found = audited(written(tmp_path / "rows.jsonl", pairs(200)))
    assert names(found) <= {"thin-topics"}
    assert found.rows == found.sampled == 200
    assert not found.fails("warning")
    assert found.coverage is not None
    assert sum(topic.rows for topic in found.coverage.topics) == 200


def test_broken_rows_are_told_by_line_and_reason(tmp_path: Path) -> None:
    rows: list[object] = [*pairs(40), '{"prompt": "a", ', {"prompt": "b"}, {"prompt": "c", "completion": ""}, "[1, 2"]
    found = audited(written(tmp_path / "rows.jsonl", rows))  # type: ignore[arg-type]
    assert lines(found, "unusable-rows") == [41, 42, 43, 44]
    assert found.unusable == 4
    assert found.count("error") >= 1
    titles = [finding.title for finding in found.findings if finding.check == "unusable-rows"]
    assert any("not valid JSON" in title for title in titles)
    assert any("no answer" in title for title in titles)


def test_a_file_without_one_usable_row_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [{"messages": [{"role": "alien", "content": "hi"}]}] * 3)
    with pytest.raises(DataError, match=r"unknown role.*etude data show"):
        audited(path)


def test_damaged_text_is_found_and_shown_as_it_should_be(tmp_path: Path) -> None:
    rows = pairs(40)
    rows[3]["prompt"] += " Café für Ömer".encode().decode("cp1252")
    rows[5]["completion"] += "\x07"
    rows[7]["prompt"] += " caf\ufffd"
    rows[9]["prompt"] += " cafe\u0301"
    rows[11]["prompt"] += " fish &amp; chips"
    rows[13]["prompt"] += " <br/> <b>now</b>"
    rows[15]["prompt"] += r" caf\u00e9"
    rows[17]["prompt"] += " Grüße, 東京, naïve – “quoted”"
    found = audited(written(tmp_path / "rows.jsonl", rows))
    where = {
        "misread-encoding": 4, "control-characters": 6, "lost-characters": 8, "decomposed-letters": 10, "entities": 12,
        "tags": 14, "written-escapes": 16,
    }  # fmt: skip
    assert {check: lines(found, check) for check in where} == {check: [line] for check, line in where.items()}
    assert "Café" in of(found, "misread-encoding").places[0].shown
    assert of(found, "misread-encoding").severity == "error"
    assert "etude data clean" in of(found, "misread-encoding").command


def test_copies_within_across_and_nearly(tmp_path: Path) -> None:
    rows = pairs(60)
    near = {**rows[2], "prompt": rows[2]["prompt"].replace("last", "last,")}
    first = written(tmp_path / "train.jsonl", [*rows, {**rows[0], "prompt": f"  {rows[0]['prompt'].upper()}"}, near])
    second = written(
        tmp_path / "test.jsonl", [rows[5], {"prompt": asked(900), "completion": "Nowhere, it was a gift."}]
    )
    found = audited(first, second)
    assert lines(found, "exact-copies") == [61]
    assert lines(found, "near-copies") == [62]
    across = of(found, "copies-across-files")
    assert across.severity == "error"
    assert [str(place.origin) for place in across.places] == [f"{second}:1"]
    assert f"{first}:6" in across.places[0].shown
    assert (found.duplicates.exact, found.duplicates.near, found.duplicates.across_files) == (2, 1, 1)


def test_labels_that_contradict(tmp_path: Path) -> None:
    rows = [{"prompt": asked(at), "completion": ("red", "green")[at % 2]} for at in range(60)]
    rows.append({"prompt": rows[0]["prompt"], "completion": "green"})
    found = audited(written(tmp_path / "rows.jsonl", rows))
    assert lines(found, "contradictions") == [1, 61]
    assert of(found, "contradictions").severity == "warning"


def test_labels_rare_respelt_and_dominant(tmp_path: Path) -> None:
    labels = ["card_arrival"] * 300 + ["card_loss"] * 30 + ["Card Arrival", "card_arival", "fraud", "fraud"]
    rows = [{"prompt": asked(at), "completion": label} for at, label in enumerate(labels)]
    found = audited(written(tmp_path / "rows.jsonl", rows))
    assert lines(found, "label-spelling") == [331, 332]
    assert lines(found, "rare-labels") == [333, 334]
    assert of(found, "dominant-label").rows == 300
    assert found.labels[0].counts[0] == ("card_arrival", 300)
    assert LabelTable("answer", (("a", 50), ("b", 50)), 100).effective == pytest.approx(2)


def test_fields_of_json_answers_are_labels_and_their_shape_is_kept(tmp_path: Path) -> None:
    rows = [
        {"prompt": asked(at), "completion": json.dumps({"intent": ("buy", "sell")[at % 2], "order": at})}
        for at in range(80)
    ]
    rows[3]["completion"] = json.dumps({"intent": "buy", "order": "3"})
    rows[5]["completion"] = json.dumps({"intent": "buy"})
    rows[7]["completion"] = json.dumps({"order": 7, "intent": "sell"})
    rows[9]["completion"] = '{"intent": "sell", "order": 9'
    rows[11]["completion"] += " "
    found = audited(written(tmp_path / "rows.jsonl", rows))
    assert lines(found, "json-shape") == [4, 6, 8]
    assert lines(found, "answer-form") == [10]
    assert lines(found, "outer-spaces") == [12]
    assert "without order" in " ".join(finding.title for finding in found.findings)
    assert [table.name for table in found.labels] == ["intent"]


def test_answers_with_leftovers(tmp_path: Path) -> None:
    rows = pairs(60)
    rows[1]["completion"] = "Dear {{customer_name}}, it was bought here."
    rows[2]["completion"] = "As an AI language model, I cannot know that."
    rows[3]["completion"] = "The lamp was bought in the largest shop of the town and then it was carried to the"
    rows[4]["completion"] = rows[4]["prompt"]
    rows[5]["completion"] = "Find it yourself, you stupid m0ron."
    found = audited(written(tmp_path / "rows.jsonl", rows))
    checks = ("placeholders", "boilerplate", "unfinished-answers", "echo", "toxic-answers")
    assert {check: lines(found, check) for check in checks if check != "unfinished-answers"} == {
        "placeholders": [2], "boilerplate": [3], "echo": [5], "toxic-answers": [6],
    }  # fmt: skip
    assert 4 in lines(found, "unfinished-answers")


def test_rows_over_the_limit(tmp_path: Path) -> None:
    rows = pairs(40)
    rows[4]["prompt"] += " and again" * 80
    rows[6]["completion"] += " and again" * 160
    found = audited(written(tmp_path / "rows.jsonl", rows), max_tokens=128)
    assert lines(found, "over-limit") == [5]
    assert lines(found, "answers-over-limit") == [7]
    assert found.lengths is not None
    assert found.lengths.over == 2
    assert f"data.max_tokens={found.lengths.needed}" in of(found, "over-limit").command
    assert sum(found.lengths.total.counts) == 40


def test_columns_that_change_their_type_or_lose_a_value(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{**row, "year": 1990 + at, "shop": "x"} for at, row in enumerate(pairs(60))]
    rows[30]["year"] = "nineteen ninety"
    rows[40]["shop"] = ""
    found = audited(written(tmp_path / "rows.jsonl", rows))
    assert lines(found, "mixed-types") == [31]
    assert lines(found, "missing-values") == [41]


def test_groups_that_are_labelled_differently_stand_out(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": asked(at),
            "completion": "grant" if at % 10 < (8 if at % 2 else 2) else "refuse",
            "region": ("north", "south")[at % 2],
        }
        for at in range(400)
    ]  # fmt: skip
    found = audited(written(tmp_path / "rows.jsonl", rows))
    assert "region" in of(found, "group-skew").title
    assert found.groups is not None
    rate = found.groups.rates[0]
    assert rate.stands_out
    assert rate.interval[0] <= rate.share <= rate.interval[1]
    fair = [{**row, "completion": ("grant", "refuse")[at // 2 % 2]} for at, row in enumerate(rows)]
    again = audited(written(tmp_path / "fair.jsonl", fair))
    assert "group-skew" not in names(again)
    with pytest.raises(DataError, match="no column 'planet'"):
        audited(tmp_path / "fair.jsonl", groups=("planet",))


def test_preferences_are_looked_at_as_pairs(tmp_path: Path) -> None:
    rows = [
        {"prompt": asked(at), "chosen": f"In shop {at} of the town.", "rejected": f"I will not say, number {at}."}
        for at in range(50)
    ]  # fmt: skip
    rows[5]["rejected"] = rows[5]["chosen"].upper()
    found = audited(written(tmp_path / "rows.jsonl", rows))
    assert lines(found, "equal-pair") == [6]
    assert found.kinds == (("Preference", 50),)


def test_plain_texts_have_no_answers_to_look_at(tmp_path: Path) -> None:
    found = audited(written(tmp_path / "rows.jsonl", [{"text": asked(at)} for at in range(60)]))
    assert found.answers is None
    assert not found.labels
    assert not found.fails("warning")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ('{"a": 1}', "JSON object"), ("[1, 2]", "JSON list"), ("{broken", "label or phrase"), ("-1,200.5", "number"),
        ("```py\nx\n```", "code block"), ("card_arrival", "label or phrase"), ("Yes, it is.", "text"),
    ],
)  # fmt: skip
def test_forms_of_answers(answer: str, kind: str) -> None:
    assert form(answer) == kind


def test_languages_are_told_or_left_open() -> None:
    assert language("Where did you buy the lamp that stands in your kitchen?") == "en"
    assert language("Wo hast du die Lampe gekauft, die in deiner Küche steht?") == "de"
    assert language("ok") == UNKNOWN
    assert language("card_arrival") == UNKNOWN


def test_words_are_seen_through_their_disguise_and_harmless_ones_pass() -> None:
    assert set(toxic("you 1d10t")) == {"insult"}
    assert set(toxic("what the f*** and SHIIIT")) == {"profanity"}
    assert set(toxic("I will kill you")) == {"threat"}
    for harmless in ("How do I kill the process on port 80?", "Scunthorpe cocktail classic", "Dickens assessed it"):
        assert not toxic(harmless)


def test_personal_data_and_secrets_are_told_apart_and_not_spread(tmp_path: Path) -> None:
    rows = pairs(60)
    rows[3]["prompt"] += " Write to ann.miller@example.org or call +49 30 901820."
    rows[5]["completion"] += " The key is ghp_16C7e42F292c6912E7710c838347Ae178B4a."
    rows[7]["prompt"] += " Pay to DE89 3704 0044 0532 0130 00 please."
    path = written(tmp_path / "rows.jsonl", rows)
    found = audited(path)
    assert lines(found, "secrets") == [6]
    assert lines(found, "personal-data") == [4, 8]
    assert of(found, "secrets").severity == "error"
    assert "etude data redact" in of(found, "secrets").command
    for finding in (of(found, "secrets"), of(found, "personal-data")):
        assert not any(held in str(finding) for held in ("ann.miller", "16C7e42F", "0532 0130"))


def test_refusals_are_refusals() -> None:
    assert REFUSAL.search("I'm sorry, but I can't help with that.")
    assert not REFUSAL.search("Sorry songs are sung by him.")
