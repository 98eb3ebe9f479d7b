"""The whole circle on the command line: a run whose files agree, and every command that takes a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import yaml

from etude.evaluation.report import Report
from etude.runs.directory import RunDirectory
from tests.cycle.conftest import Desk, Done, as_jsonl, diary, lines_of, rows, weights

LEARNS = ("technique.rank=8", "technique.alpha=16", "technique.dropout=0", "training.steps=60", "training.batch_rows=8")


@pytest.fixture(scope="module")
def learned(new_desk: Callable[[], Desk]) -> Desk:
    """A desk with a run that learned its rows by heart."""
    desk = new_desk()
    desk.write("toy.task.yaml", "name: toy\ndata: train.jsonl\nmetric: exact_match\nmax_new_tokens: 6\n")
    assert said(desk.etude("train", "toy.yaml", *LEARNS)).count("better: exact_match on toy went from 0.0 %") == 1
    return desk


def said(done: Done) -> str:
    assert done.code == 0, done.words
    return done.words


def test_the_files_of_a_run_agree(learned: Desk) -> None:
    run = RunDirectory(learned.folder / "runs/toy")
    manifest = run.manifest()
    assert run.state == "finished"
    assert manifest.verify(run.path) == []
    files = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    hidden = {name for name in files if name.startswith((".lease-", "checkpoints/"))}
    assert files - hidden - {"manifest.json"} == set(manifest.files)
    assert {"run.yaml", "data.json", "metrics.jsonl", "samples.jsonl", "verdict.json", "report.html",
            "adapter/adapter_model.safetensors", "reports/toy.base.jsonl", "reports/toy.jsonl"} <= files  # fmt: skip
    assert manifest.command == ("etude", "train", "toy.yaml", *LEARNS)
    data = json.loads(run.data_file.read_text(encoding="utf-8"))
    assert data["sha256"] == manifest.data.sha256
    assert (data["train_rows"], data["heldout_rows"]) == (19, 5)
    losses = [line for line in diary(run.path) if "loss" in line]
    samples = lines_of(run.samples_file)
    assert [line["step"] for line in losses] == [line["step"] for line in samples] == list(range(1, 61))
    assert [line["rows"] for line in losses] == [len(line["ids"]) for line in samples]
    assert len({one for line in samples for one in line["ids"]}) == 19
    base, tuned = lines_of(run.report("toy", base=True)), lines_of(run.report("toy"))
    verdict = json.loads(run.verdict_file.read_text(encoding="utf-8"))["verdicts"][0]
    for report, score in ((base, verdict["base"]), (tuned, verdict["tuned"])):
        assert len(report) == 1 + 24
        assert sum(item["scores"]["exact_match"] for item in report[1:]) / 24 == pytest.approx(score)
    page = run.page.read_text(encoding="utf-8")
    assert manifest.run_id in page
    assert 'state-finished">finished</span>' in page


def test_commands_that_take_a_run(learned: Desk) -> None:
    assert "toy" in said(learned.etude("runs"))
    shown = said(learned.etude("runs", "show", "runs/toy"))
    assert "recorded files are intact" in shown
    assert "finished" in shown
    tuned = json.loads((learned.folder / "runs/toy/verdict.json").read_text(encoding="utf-8"))["verdicts"][0]["tuned"]
    evaluated = said(learned.etude("evaluate", "runs/toy", "toy.task.yaml", "--save", "again.jsonl"))
    assert f"{100 * tuned:.1f} %" in evaluated
    assert "it/s]" not in evaluated
    again = lines_of(learned.folder / "again.jsonl")[1:]
    assert [one["answer"] for one in again] == [
        one["answer"] for one in lines_of(learned.folder / "runs/toy/reports/toy.jsonl")[1:]
    ]
    assert said(learned.etude("compare", "runs/toy")).startswith("better: exact_match on toy")
    assert "[+refund" in said(learned.etude("data", "show", "train.jsonl", "--model", "base"))


def test_chat_answers_as_the_report_says(learned: Desk) -> None:
    report = lines_of(learned.folder / "runs/toy/reports/toy.jsonl")[1:4]
    answers = said(learned.etude("chat", "runs/toy", stdin="".join(f"{one['prompt']}\n" for one in report)))
    for answer, one in zip(answers.splitlines(), report, strict=True):
        assert answer.startswith(one["answer"])
    base = said(learned.etude("chat", "runs/toy", "--base", stdin=f"{report[0]['prompt']}\n"))
    assert base.splitlines()[0] != answers.splitlines()[0]


def test_a_run_is_trained_again_from_its_folder_bit_for_bit(learned: Desk) -> None:
    said(learned.etude("train", "runs/toy", "output=again"))
    assert weights(learned.folder / "again") == weights(learned.folder / "runs/toy")
    assert diary(learned.folder / "again") == diary(learned.folder / "runs/toy")
    ours, theirs = (RunDirectory(learned.folder / name).manifest() for name in ("runs/toy", "again"))
    assert ours.config_sha256 == theirs.config_sha256
    assert ours.run_id != theirs.run_id
    assert "different" not in said(learned.etude("runs", "diff", "runs/toy", "again"))


def test_full_fine_tuning(learned: Desk) -> None:
    words = said(
        learned.etude("train", "toy.yaml", "technique=full", "output=runs/full", "training.learning_rate=3e-3")
    )
    run = RunDirectory(learned.folder / "runs/full")
    assert run.weights == run.model
    assert run.manifest().verify(run.path) == []
    assert "it/s]" not in words
    report = lines_of(run.report("toy"))[1]
    assert said(learned.etude("chat", "runs/full", stdin=f"{report['prompt']}\n")).startswith(report["answer"])
    assert "lora" in said(learned.etude("runs", "diff", "runs/toy", "runs/full"))


def test_domain_adaptation_on_plain_text(desk: Desk) -> None:
    (desk.folder / "texts").mkdir()
    for number in range(20):
        desk.write(
            f"texts/{number}.txt", f"the quick brown fox jumps over {number} lazy dogs\n\nmy card has not arrived\n"
        )
    desk.write("toy.task.yaml", "name: words\ndata: texts\nmetric: perplexity\n")
    desk.run_file(data={"train": "texts"})
    words = said(desk.etude("train", "toy.yaml"))
    assert "better: " in words
    verdict = json.loads((desk.folder / "runs/toy/verdict.json").read_text(encoding="utf-8"))["verdicts"][0]
    assert verdict["tuned"] < verdict["base"]
    assert said(desk.etude("evaluate", "runs/toy", "toy.task.yaml")).count("perplexity") == 1


@pytest.mark.slow
def test_two_ranks_do_what_one_does(finished: Desk, desk: Desk) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ETUDE_HOME": str(desk.folder / "home")}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "etude.cli.main", "train", "toy.yaml", "technique.dropout=0", "model.precision=float32"]
    done = subprocess.run(command, cwd=desk.folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("everything is in runs/toy") == 1
    alone = desk.etude("train", "toy.yaml", "technique.dropout=0", "model.precision=float32", "output=alone")
    assert alone.code == 0, alone.words
    one, two = RunDirectory(desk.folder / "alone"), RunDirectory(desk.folder / "runs/toy")
    assert two.manifest().verify(two.path) == []
    assert one.samples_file.read_bytes() == two.samples_file.read_bytes()
    for expected, found in zip(diary(one.path), diary(two.path), strict=True):
        for name in ("loss", "heldout_loss", "grad_norm"):
            assert found.get(name) == pytest.approx(expected.get(name), abs=1e-5)
        assert found.get("tokens") == expected.get("tokens")


def test_a_run_that_memory_made_smaller_says_so_everywhere(finished: Desk, desk: Desk) -> None:
    words = said(desk.etude("train", "toy.yaml", ETUDE_FAULT="loop.pass:60=oom"))
    run = RunDirectory(desk.folder / "runs/toy")
    limit = run.manifest().most_tokens
    assert limit is not None
    assert f"memory ran out on {2 * limit}" in words or f"memory ran out on {2 * limit + 1}" in words
    assert f"from here on at most {limit}" in run.page.read_text(encoding="utf-8")
    assert "most tokens in one pass" in run.page.read_text(encoding="utf-8")
    assert "most tokens in one pass" not in (finished.folder / "runs/toy/report.html").read_text(encoding="utf-8")
    losses = [[line["loss"] for line in diary(one.folder / "runs/toy") if "loss" in line] for one in (desk, finished)]
    assert losses[0][0] == pytest.approx(losses[1][0], abs=0.2), "dropout's masks differ, the rows do not"


def test_a_profile_is_one_command_and_changes_nothing(finished: Desk, desk: Desk) -> None:
    words = said(desk.etude("train", "toy.yaml", "--profile"))
    run = RunDirectory(desk.folder / "runs/toy")
    page = (run.path / "profile.txt").read_text(encoding="utf-8")
    assert "profile: an update takes " in words
    assert "profile: matrix products take " in words
    assert "USDT" not in words
    assert page.startswith("Profile of updates 6 to 8: ")
    assert {"profile.txt", "profile.trace.json.gz"} <= set(run.manifest().files)
    assert run.manifest().verify(run.path) == []
    assert weights(run.path) == weights(finished.folder / "runs/toy")
    assert diary(run.path) == diary(finished.folder / "runs/toy")


def test_a_sample_that_memory_cannot_hold_is_one_clear_line(desk: Desk) -> None:
    done = desk.etude("train", "toy.yaml", ETUDE_FAULT="loop.pass:5=oom")
    assert done.code == 2
    assert "memory ran out on a single sample of " in done.last_line
    assert "or lower data.max_tokens" in done.last_line
    assert "Traceback" not in done.words
    assert RunDirectory(desk.folder / "runs/toy").state == "failed"


def test_the_resolved_run_file_says_everything(finished: Desk) -> None:
    settings = yaml.safe_load((finished.folder / "runs/toy/run.yaml").read_text(encoding="utf-8"))
    assert settings["data"]["train"] == str(finished.folder / "train.jsonl")
    assert settings["technique"] == {"kind": "lora", "rank": 4, "alpha": 8.0, "dropout": 0.1} | {
        name: settings["technique"][name]
        for name in ("targets", "rslora", "dora", "b_rate", "start", "rank_pattern", "alpha_pattern")
    }
    assert len(rows()) == 24


def test_answers_are_held_against_the_documents_of_their_rows(desk: Desk) -> None:
    papers = [{"text": "The parcel left on Monday.", "relevant": True}, {"text": "Ducks lay eggs.", "relevant": False}]
    rows = [{"question": "When did it leave?", "documents": papers, "answer": "On Monday."},
            {"question": "What do ducks do?", "documents": ["Ducks lay eggs."]}]  # fmt: skip
    desk.write("papers.jsonl", as_jsonl(rows))
    task = "name: papers\ndata: papers.jsonl\nmetric: {metric}\nmax_new_tokens: 8\n"
    desk.write("grounded.task.yaml", task.format(metric="grounded"))
    desk.write("rouge.task.yaml", task.format(metric="rouge_l"))
    said(desk.etude("evaluate", "./base", "grounded.task.yaml", "--save", "found.jsonl"))
    report = Report.load(desk.folder / "found.jsonl")
    assert {"grounded", "on_distractors"} <= report.summary.keys()
    assert [item.reference for item in report.items] == ["On Monday.", ""]
    assert "[1] The parcel left on Monday." in report.items[0].prompt
    assert "papers.jsonl:2: has no reference answer" in desk.etude("evaluate", "./base", "rouge.task.yaml").error


def test_virtual_tokens_that_begin_as_words_are_a_run_like_any_other(desk: Desk) -> None:
    begun_as_words = ("technique={kind: prompt, text: which label}", "training.steps=2")
    assert "of memory at the peak" in said(desk.etude("train", "toy.yaml", *begun_as_words))
