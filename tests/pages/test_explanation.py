"""The page of an explanation: what is worse is said first, and rows cannot break it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

from etude.diagnosis.explaining import explain
from etude.diagnosis.explanation import Explanation
from etude.pages.explanation import headline, render_explanation
from tests.diagnosis.reports import label_report
from tests.diagnosis.test_explaining import training

MADE = datetime(2026, 1, 2, tzinfo=UTC)


def page(found: Explanation) -> str:
    text = render_explanation(found, made=MADE, json_file="why it is.json")
    HTMLParser().feed(text)
    return text


def test_the_page_names_the_slice_and_the_command() -> None:
    found = explain(label_report(), training=training(transfer=2))
    text = page(found)
    assert "1 part of the task is worse than the rest: label=transfer" in text
    assert "16 of 20 failed" in text
    assert "--for-slice &#39;why it is.json:label=transfer&#39;" in text
    assert "train.jsonl:41" in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_rows_cannot_write_the_page() -> None:
    report = label_report()
    evil = [replace(item, prompt=f"<script>alert(1)</script>\u202e {item.prompt}") for item in report.items]
    text = page(explain(replace(report, items=tuple(evil))))
    assert "<script" not in text
    assert "\u202e" not in text


def test_without_failures_the_page_says_so() -> None:
    found = explain(label_report(kept=20))
    assert headline(found) == "Nothing failed"
    assert "Mistakes" not in page(found)
