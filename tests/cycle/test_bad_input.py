"""Whatever is wrong, it is said in a clear line, with exit code 2, and nothing is begun, lost or left over."""

from __future__ import annotations

import json

import pytest

from etude.runs.directory import RunDirectory
from tests.cycle.conftest import Desk, Done, as_jsonl, rows

GOOD = as_jsonl(rows())


def refused(desk: Desk, *overrides: str, leaves: tuple[str, ...] = (), **env: str) -> str:
    """The error of `etude train toy.yaml`, which leaves the folder as it was."""
    before = desk.entries()
    done = desk.etude("train", "toy.yaml", *overrides, **env)
    assert is_clear(done)
    assert desk.entries() - before == set(leaves)
    return done.error


def is_clear(done: Done) -> bool:
    return done.code == 2 and "Traceback" not in done.words and f"\n{done.words}".count("\nerror: ") == 1


def test_settings(desk: Desk) -> None:
    desk.run_file(training={"epoch": 2, "learning_rate": "0.001", "batch_rows": -1, "seed": "zero"})
    error = refused(desk)
    assert error.startswith("error: toy.yaml:\n")
    assert "training.epoch (line " in error
    assert "unknown setting; did you mean 'epochs'?" in error
    assert "expected a number, got '0.001'; write it without quotes" in error
    assert "expected a whole number, got 'zero'" in error
    assert "must be at least 1, got -1" in error


def test_a_setting_of_another_kind(desk: Desk) -> None:
    error = refused(desk, "technique.kind=full")
    line = 1 + (desk.folder / "toy.yaml").read_text(encoding="utf-8").splitlines().index("  rank: 4")
    assert f"technique.rank (line {line}): belongs to kind lora, not to full; leave it out; " in error
    assert "technique=full replaces the whole section" in error


def test_missing_files(desk: Desk) -> None:
    desk.run_file(data={"train": "trian.jsonl"}, evaluation={"tasks": ["toy.task.yml"]}, model="./bas")
    error = refused(desk)
    for wrong in ("data.train", "evaluation.tasks[0]", "model.name"):
        assert wrong in error
    assert "did you mean 'train.jsonl'?" in error
    assert "did you mean 'toy.task.yaml'?" in error


NOT_ROWS = {
    "empty": (b"", "train.jsonl: the file is empty"),
    "blank": (b"\n \n\n", "train.jsonl: "),
    "UTF-16": (GOOD.encode("utf-16"), "UTF-16"),
    "Latin-1": (GOOD.replace("money", "Gebühr").replace("\\u00fc", "ü").encode("latin-1"), "iconv"),
    "binary": (bytes(range(256)) * 20, "train.jsonl"),
    "CSV": (b"a;b\n1;2\n", "train.jsonl"),
    "no known columns": (b'{"foo": "a", "bar": "b"}\n' * 3, "foo"),
}


@pytest.mark.parametrize("name", NOT_ROWS)
def test_data_that_is_none(desk: Desk, name: str) -> None:
    content, said = NOT_ROWS[name]
    desk.write("train.jsonl", content)
    before = desk.entries()
    done = desk.etude("train", "toy.yaml", "evaluation.tasks=[]")
    assert is_clear(done)
    assert said in done.error
    assert desk.entries() - before <= {"runs", "runs/toy.quarantine.jsonl"}


def test_nothing_fits(desk: Desk) -> None:
    refused(desk, "data.max_tokens=4")
    refused(desk, "data.max_tokens=4", "data.over_length=drop")
    refused(desk, "data.max_tokens=4", "data.over_length=truncate-prompt")


def test_too_many_rows_without_an_answer(desk: Desk) -> None:
    bad = [{"messages": [{"role": "user", "content": "money?"}]}, {"messages": []}, {"messages": "money"}]
    desk.write("train.jsonl", GOOD + as_jsonl(bad))
    error = refused(desk, "evaluation.tasks=[]", leaves=("runs", "runs/toy.quarantine.jsonl"))
    assert "3 of 27 rows cannot be used (11.1%, limit 1.0%)" in error
    lines = (desk.folder / "runs/toy.quarantine.jsonl").read_text().splitlines()
    assert [json.loads(line)["line"] for line in lines] == [25, 26, 27]


def test_models(desk: Desk) -> None:
    for name in ("no-such-model", "no-such-owner/no-such-model", "a b c"):
        before = desk.entries()
        done = desk.etude("train", "toy.yaml", f"model={name}")
        assert is_clear(done)
        assert name in done.error
        assert done.seconds < 10
        assert desk.entries() == before


def test_model_folders(desk: Desk) -> None:
    base = desk.folder / "base"
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.Model"}}))
    refused(desk)
    (base / "config.json").write_text(json.dumps(config))
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    refused(desk)
    (base / "pytorch_model.bin").rename(base / "model.safetensors")
    (base / "tokenizer.json").rename(base / "tok.json")
    refused(desk)
    (base / "tok.json").rename(base / "tokenizer.json")
    weights = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    refused(desk)


def test_tasks(desk: Desk) -> None:
    desk.write("toy.task.yaml", "name: toy\ndata: gone.jsonl\nmetric: exact_match\n")
    refused(desk)
    desk.write("toy.task.yaml", "name: toy\ndata: train.jsonl\nmetric: exakt_match\nlimits: 3\n")
    refused(desk)
    desk.write("toy.task.yaml", "name: toy\ndata: train.jsonl\nmetric: json\n")
    refused(desk)


def test_output(desk: Desk) -> None:
    desk.write("file", "")
    refused(desk, "output=file")
    refused(desk, "output=file/run")
    refused(desk, "output=base")
    refused(desk, "output=")
    refused(desk, "output=runs/new", ETUDE_FAULT="durable.mkdir:2=eacces")
    refused(desk, "output=runs/new", ETUDE_FAULT="durable.open:2=eacces")


@pytest.mark.parametrize("at", [1, 14, *(pytest.param(at, marks=pytest.mark.slow) for at in (3, 6, 21))])
def test_a_full_disk_at_any_time(desk: Desk, at: int) -> None:
    """Without checkpoints, the writes are: lease, prepared rows, manifest, run.yaml, data.json, report, 6 log lines,
    2 files of the adapter, report, verdict, manifest, 2 plots, page, manifest.
    """
    command = ("train", "toy.yaml", "training.save_every=0", "training.steps=2")
    before = desk.entries()
    done = desk.etude(*command, ETUDE_FAULT=f"durable.write:{at}=enospc")
    assert is_clear(done)
    assert "disk full (" in done.last_line
    assert "free some space and run the command again" in done.last_line
    run = RunDirectory(desk.folder / "runs/toy")
    if at <= 3:
        assert desk.entries() == before
        done = desk.etude(*command)
    else:
        assert run.state == "failed"
        done = desk.etude(*command, "--resume")
    assert done.code == 0, done.words
    assert run.state == "finished"
    assert run.manifest().verify(run.path) == []


def test_a_full_disk_costs_only_the_kept_rows(desk: Desk) -> None:
    done = desk.etude("train", "toy.yaml", "training.steps=2", ETUDE_FAULT="durable.write:2=enospc")
    assert done.code == 0, done.words
    assert "note: the prepared rows are not kept for the next run: " in done.words
    assert "disk full (" in done.words
    assert not [path for path in (desk.folder / "home/prepared").iterdir() if path.is_dir()]


def test_a_full_disk_costs_only_the_checkpoint(desk: Desk) -> None:
    done = desk.etude("train", "toy.yaml", ETUDE_FAULT="durable.write:21=enospc")
    assert done.code == 0
    assert "no checkpoint at update 5: runs/toy/checkpoints: step 5 was not saved, older checkpoints are" in done.words
    assert RunDirectory(desk.folder / "runs/toy").state == "finished"


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_limit_on_the_size_of_files(desk: Desk, kind: str) -> None:
    done = desk.etude("train", "toy.yaml", f"technique={kind}", "training.steps=2", file_size=30_000)
    assert is_clear(done)
    assert done.last_line.startswith("error: runs/toy/")
    assert "file size limit reached" in done.words
    assert RunDirectory(desk.folder / "runs/toy").state == "failed"


def test_a_few_bad_rows_go_to_quarantine(desk: Desk) -> None:
    no_answer = {"messages": [{"role": "user", "content": "money?"}]}
    with_mark = "\ufeff" + as_jsonl([*rows(), no_answer]).replace("\n", "\r\n")
    desk.write("train.jsonl", with_mark.encode())
    done = desk.etude("train", "toy.yaml", "data.max_bad_share=0.1", "training.steps=2", "evaluation.tasks=[]")
    assert done.code == 0, done.words
    assert "24 rows, 1 unusable" in done.words
    run = desk.folder / "runs/toy"
    bad = json.loads((run / "quarantine.jsonl").read_text(encoding="utf-8"))
    assert (bad["line"], bad["reason"]) == (25, "no answer: there is no message of the assistant")
    assert json.loads((run / "data.json").read_text(encoding="utf-8"))["bad_rows"] == 1
    assert not (desk.folder / "runs/toy.quarantine.jsonl").exists()
    assert "No task was measured before and after, so nothing is proven" in done.words
