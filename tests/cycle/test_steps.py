"""Steps of a run file: done once before the split, kept by content, recorded in the run."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from etude.config import dump, load_run_file
from etude.config.run_file import RunFile
from etude.cycle.show import Quiet
from etude.cycle.steps import do_steps
from etude.data.clean import Clean
from etude.data.decontaminate import Decontaminate
from etude.data.mix import Mix
from etude.data.read import read
from etude.errors import Problems
from etude.runs.directory import RunDirectory
from etude.runs.store import home
from tests.cycle.conftest import Desk, as_jsonl
from tests.cycle.conftest import rows as toy_rows
from tests.data.test_near import WORDS


class Told(Quiet):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ETUDE_HOME", str(tmp_path / "home"))
    rng = random.Random(0)
    asked = [" ".join(rng.choices(WORDS, k=20)) for _ in range(40)]
    rows = [{"q": text, "a": "yes"} for text in [*asked, asked[0].upper(), f"{asked[1]} too"]]
    write(tmp_path / "rows.jsonl", rows)
    write(tmp_path / "eval.jsonl", [{"q": asked[2], "a": "yes"}])
    chats = [
        {"messages": [{"role": "user", "content": f"chat {at}"}, {"role": "assistant", "content": "hm"}]}
        for at in range(9)
    ]
    write(tmp_path / "general.jsonl", chats)
    return tmp_path


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def run_file(folder: Path, steps: str) -> RunFile:
    path = folder / "run.yaml"
    path.write_text(
        "model: m\ndata:\n  train: rows.jsonl\n  columns: {prompt: q, completion: a}\n"
        f"  steps:\n{steps}\noutput: {folder / 'run'}\n"
    )
    return load_run_file(path)


ALL = """\
    - clean
    - {kind: decontaminate, against: [eval.jsonl]}
    - {kind: mix, replay: [general.jsonl], replay_share: 0.1}"""


def test_steps_are_read_with_their_kinds_and_paths(folder: Path) -> None:
    found = run_file(folder, ALL)
    assert found.data.steps == (
        Clean(),
        Decontaminate(against=(str(folder / "eval.jsonl"),)),
        Mix(replay=(str(folder / "general.jsonl"),)),
    )
    (folder / "again.yaml").write_text(dump(found))
    assert load_run_file(folder / "again.yaml") == found


def test_what_is_wrong_with_steps_is_said_at_once(folder: Path) -> None:
    steps = """\
    - {kind: claen}
    - {kind: clean, treshold: 0.5}
    - {kind: clean, threshold: 5}
    - {kind: clean, replay_share: 0.5}
    - {kind: decontaminate, against: [evla.jsonl]}
    - {threshold: 0.5}
    - 7"""
    with pytest.raises(Problems) as caught:
        run_file(folder, steps)
    said = str(caught.value)
    for words in (
        "data.steps[0].kind (line 6): unknown kind 'claen'; did you mean 'clean'?",
        "data.steps[1].treshold (line 7): unknown setting; did you mean 'threshold'?",
        "data.steps[2].threshold (line 8): must be from 0.3 up to but below 1, got 5",
        "data.steps[3].replay_share (line 9): belongs to kind mix, not to clean",
        "evla.jsonl; did you mean 'eval.jsonl'?",
        "data.steps[5].kind (line 11): unknown kind nothing; choose from clean",
        "data.steps[6] (line 12): expected settings such as",
    ):
        assert words in said


def test_they_are_done_in_order_and_only_once(folder: Path) -> None:
    found, told = run_file(folder, ALL), Told()
    before = (folder / "rows.jsonl").read_bytes()
    done = do_steps(found.data, told)
    assert told.lines[0] == "clean: 42 rows, 40 after it (1 copy, 1 near copy)"
    assert "decontaminate: 40 rows, 39 after it (1 leak)" in told.lines
    assert (folder / "rows.jsonl").read_bytes() == before
    rows = read(done.data.train, format=done.data.format, columns=done.data.columns)
    assert len(rows) == 43
    assert sum("chat" in row.messages[0].text for row in rows) == 4  # type: ignore[union-attr]
    assert [manifest["settings"]["kind"] for manifest in done.manifests] == ["clean", "decontaminate", "mix"]
    assert done.manifests[1]["inputs"][0]["sha256"] == done.manifests[0]["outputs"]["rows.jsonl"]["sha256"]
    made = {path: path.stat().st_ino for path in (home() / "steps").rglob("*.jsonl")}
    again = Told()
    assert do_steps(found.data, again) == done
    assert again.lines == told.lines
    assert {path: path.stat().st_ino for path in (home() / "steps").rglob("*.jsonl")} == made


def test_other_rows_or_settings_are_done_anew(folder: Path) -> None:
    first = do_steps(run_file(folder, "    - clean").data, Told())
    other = do_steps(run_file(folder, "    - {kind: clean, copies: exact}").data, Told())
    assert other.data.train != first.data.train
    write(folder / "eval.jsonl", [{"q": "what else", "a": "b"}])
    decontaminated = do_steps(run_file(folder, "    - {kind: decontaminate, against: [eval.jsonl]}").data, Told())
    write(folder / "eval.jsonl", [{"q": "what else?", "a": "b"}])
    again = do_steps(run_file(folder, "    - {kind: decontaminate, against: [eval.jsonl]}").data, Told())
    assert again.data.train != decontaminated.data.train


def test_fakes_are_drawn_anew_with_another_key_and_its_path_is_the_run_files(folder: Path) -> None:
    step = "    - {kind: redact, replace: surrogate, key_file: redact.key}"
    with pytest.raises(Problems, match=r"redact\.key"):
        run_file(folder, step)
    write(folder / "rows.jsonl", [{"q": f"call (415) 555-01{number}", "a": "yes"} for number in range(10, 20)])
    made = set()
    for key in ("1" * 32, "2" * 32):
        (folder / "redact.key").write_text(key, encoding="utf-8")
        made.add(Path(do_steps(run_file(folder, step).data, Told()).data.train).read_text(encoding="utf-8"))
    assert len(made) == 2
    assert not any("555-01" in text for text in made)


def test_a_run_records_its_steps(desk: Desk) -> None:
    desk.write("train.jsonl", as_jsonl([*toy_rows(), *toy_rows()]))
    desk.run_file(
        data={"steps": [{"kind": "clean", "copies": "exact"}]},
        training={"steps": 2, "save_every": 2},
        evaluation={"tasks": []},
    )
    done = desk.etude("train", "toy.yaml")
    assert done.code == 0, done.words
    assert "clean: 48 rows, 24 after it (24 copy)" in done.words
    run = RunDirectory(desk.folder / "runs/toy")
    [step] = run.manifest().data.steps
    assert step["settings"]["kind"] == "clean"
    assert step["dropped"] == {"copy": 24}
    data = json.loads(run.data_file.read_text(encoding="utf-8"))
    assert data["source"].endswith("train.jsonl")
    assert data["train_rows"] + data["heldout_rows"] == 24
    assert "step: clean" in run.page.read_text(encoding="utf-8")
