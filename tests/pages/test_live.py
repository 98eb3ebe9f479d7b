"""Scores and answers over time, and what is recited: on the page, from the files that a run writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etude.evaluation.memorization import Memorization, Share
from etude.pages.report import write_report
from tests.pages.synthetic_run import write_lines, write_run
from tests.pages.test_report import HOSTILE, Page

SCORES = {0: 0.05, 20: 0.5, 40: 0.9, 60: 0.9, 80: 0.85}
LOSSES = {0: 2.0, 20: 0.9, 40: 0.5, 60: 0.4, 80: 0.6}
ANSWERS = {0: "no idea", 20: "intent: cancel", 40: '{"intent": "cancel"}', 60: '{"intent": "cancel"}', 80: HOSTILE}


def write_live(folder: Path) -> None:
    """What the loop writes where a task is asked."""
    settings = (folder / "run.yaml").read_text(encoding="utf-8")
    (folder / "run.yaml").write_text(settings + "\ntraining: {keep_best: true, keep_best_by: score}\n")
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        for step, score in SCORES.items():
            ends = {"heldout_score_low": score - 0.05, "heldout_score_high": min(1.0, score + 0.07)}
            look = {"step": step, "heldout_loss": LOSSES[step], "heldout_score": score, **ends}
            file.write(json.dumps(look) + "\n")
    write_lines(
        folder / "answers.jsonl",
        [
            {"step": step, "task": "tickets", "metric": "object_match", "is_share": True, "higher_is_better": True,
             "items": 64, "answers": [
                 {"id": "tickets.jsonl:7", "prompt": "Cancel my order, please.", "reference": '{"intent": "cancel"}',
                  "answer": answer, "score": float(step in (40, 60))}]}
            for step, answer in ANSWERS.items()
        ],
    )  # fmt: skip
    shares = Share(6, 32), Share(1, 32), Share(0, 32), Share(0, 32)
    exposure = {"canary": {"question": "q", "secret": "1", "repeats": 16}, "sampled": 7.65, "extrapolated": 21.3}
    held = {"memorization": Memorization(*shares).as_dict(), "exposures": [{**exposure, "extracted": True}]}
    (folder / "memorization.json").write_text(json.dumps(held), encoding="utf-8")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = write_run(tmp_path_factory.mktemp("runs") / "live", rows=24, steps=80)
    write_live(folder)
    write_report(folder)
    assert (folder / "plots" / "live.png").read_bytes().startswith(b"\x89PNG")
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_the_score_has_its_interval_and_says_which_weights_were_kept(page: Page) -> None:
    assert "live" in page.ids
    assert "tickets: all fields right on 64 items" in page.text
    assert "Before training 5.0 % (0.0 to 12.0 %)." in page.text
    # of the equal scores at 40 and 60 the one with the lower loss
    assert "The highest was 90.0 % (85.0 to 97.0 %) at update 60, and the last 85.0 % (80.0 to 92.0 %)." in page.text
    assert "The weights of the highest were kept. As the best of 4 looks it is rather too good" in page.text


def test_answers_stand_once_for_the_looks_that_gave_them(page: Page) -> None:
    for said in ("1 item, answered over time", "before training ✗ wrong no idea", "update 40 to 60 ✓ right"):
        assert said in page.text
    assert not {"script", "img"} & {tag for tag, _ in page.elements}


def test_what_is_recited_stands_beside_what_was_never_seen(page: Page) -> None:
    assert "6 of 32 training answers are continued word for word, 1 of 32 held-out ones; 1 of 1 planted" in page.text
    assert "hold eight tokens in a row of another answer 0 of 32" in page.text
    assert "16 7.65 21.3 yes" in page.text
