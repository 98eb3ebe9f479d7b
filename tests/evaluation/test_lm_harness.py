"""lm-evaluation-harness asked through our scoring and sampler, against its own Hugging Face backend. Offline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lm_eval import evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from etude.comparison.verdict import compare
from etude.errors import EtudeError
from etude.evaluation import lm_harness_model
from etude.evaluation.lm_harness import HarnessOptions, harness_reports
from etude.evaluation.lm_harness_model import drawing
from etude.evaluation.report import Report
from tests.toy import toy_loaded, toy_module, toy_tokenizer

TASKS = ("toy_choices", "toy_answers", "toy_text")
ROWS = [
    {"question": f"the {colour} fox number {n} jumps over", "choices": ["the lazy dog", "card", "Paris."][: 2 + n % 2],
     "right": n % 2}
    for n, colour in enumerate(["quick", "brown", "lazy", "high"] * 2)
]  # fmt: skip
COMMON = """dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
"""
CHOICES = """task: toy_choices
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{right}}"
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
ANSWERS = """task: toy_answers
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[0]}}"
generation_kwargs: {until: ["az", "\\n"], max_gen_toks: 12, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
TEXT = """task: toy_text
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{metric: word_perplexity}, {metric: bits_per_byte}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("harness")
    rows = made / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    for name, text in zip(TASKS, (CHOICES, ANSWERS, TEXT), strict=True):
        (made / f"{name}.yaml").write_text(text + COMMON.format(rows=rows), encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Mapping[str, Any]:
    model = HFLM(pretrained=toy_module(seed=3), tokenizer=toy_tokenizer(), batch_size=3, device="cpu")
    tasks = TaskManager(include_path=str(folder), include_defaults=False).load(list(TASKS))
    for task in tasks["tasks"].values():
        task.set_config(key="num_fewshot", value=0)
    found = evaluate(model, tasks, bootstrap_iters=0)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def scored() -> list[list[tuple[float, bool]]]:
    """Log-likelihoods as our scoring gave them, filled by `ours`."""
    return []


@pytest.fixture(scope="module")
def ours(folder: Path, scored: list[list[tuple[float, bool]]]) -> dict[str, Report]:
    options = HarnessOptions(tasks=TASKS, folder=str(folder), batch_rows=3)
    plain = lm_harness_model.score_continuations

    def keeping(*given: Any, **named: Any) -> list[tuple[float, bool]]:
        scored.append(plain(*given, **named))
        return scored[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm_harness_model, "score_continuations", keeping)
        return {report.task: report for report in harness_reports(toy_loaded(seed=3), options)}


def test_log_likelihoods_are_those_of_the_harness_own_backend(
    theirs: Mapping[str, Any], ours: dict[str, Report], scored: list[list[tuple[float, bool]]]
) -> None:
    choices = [one for sample in theirs["samples"]["toy_choices"] for one in sample["filtered_resps"]]
    texts = [sample["filtered_resps"][0] for sample in theirs["samples"]["toy_text"]]
    assert {len(choices), len(texts)} == {len(part) for part in scored}
    mine = {len(part): part for part in scored}
    for (nats, greedy), (their_nats, their_greedy) in zip(mine[len(choices)], choices, strict=True):
        assert nats == pytest.approx(float(their_nats), rel=1e-6)
        assert greedy == (str(their_greedy) == "True")
    assert [nats for nats, _ in mine[len(texts)]] == pytest.approx([float(one) for one in texts], rel=1e-6)


def test_scores_and_answers_are_the_same(theirs: Mapping[str, Any], ours: dict[str, Report]) -> None:
    for task, metric in (("toy_choices", "acc"), ("toy_choices", "acc_norm"), ("toy_answers", "exact_match")):
        samples = {one["doc_id"]: one for one in theirs["samples"][task]}
        assert [item.scores[metric] for item in ours[task].items] == [
            float(samples[number][metric]) for number in sorted(samples)
        ]
        assert ours[task].summary[metric] == pytest.approx(theirs["results"][task][f"{metric},none"])
    answers = {one["doc_id"]: one["filtered_resps"][0] for one in theirs["samples"]["toy_answers"]}
    assert [item.answer for item in ours["toy_answers"].items] == [answers[number] for number in sorted(answers)]
    assert any("az" not in str(item.answer) and item.answer for item in ours["toy_answers"].items)
    text = ours["toy_text"]
    assert (text.metric, text.higher_is_better) == ("nats_per_word", False)
    perplexity = theirs["results"]["toy_text"]["word_perplexity,none"]
    assert text.summary["word_perplexity"] == pytest.approx(perplexity, rel=1e-6)
    assert text.summary["bits_per_byte"] == pytest.approx(theirs["results"]["toy_text"]["bits_per_byte,none"], rel=1e-6)


def test_reports_save_load_and_compare(ours: dict[str, Report], folder: Path, tmp_path: Path) -> None:
    report = ours["toy_choices"]
    assert str(report.items[0].answer).strip() in ROWS[0]["choices"]  # type: ignore[operator]
    report.save(tmp_path / "a.jsonl")
    assert Report.load(tmp_path / "a.jsonl") == report
    other = harness_reports(toy_loaded(seed=4), HarnessOptions(tasks=("toy_choices",), folder=str(folder)))[0]
    assert compare(report, other).n == len(ROWS)
    few = harness_reports(toy_loaded(seed=4), HarnessOptions(tasks=("toy_choices",), folder=str(folder), limit=3))[0]
    with pytest.raises(EtudeError, match="setting limit: None against 3"):
        compare(report, few)


def test_what_is_not_there_is_said(folder: Path) -> None:
    with pytest.raises(EtudeError, match="no such folder"):
        harness_reports(toy_loaded(), HarnessOptions(tasks=("toy_choices",), folder=str(folder / "none")))
    with pytest.raises(EtudeError, match="that the sampler has not: num_beams"):
        drawing({"num_beams": 4}, batch_rows=1)
    assert drawing({"do_sample": False, "temperature": 0.7, "until": "x"}, batch_rows=2).temperature == 0
