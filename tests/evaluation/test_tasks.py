"""Task files: what they may say, and everything that is wrong with one at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from etude.errors import ConfigError, Problems
from etude.evaluation.metrics.json_fields import JsonFields
from etude.evaluation.metrics.label import Label
from etude.evaluation.metrics.regex import Regex
from etude.evaluation.tasks import Task, as_task, load_task

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, text: str) -> Path:
    path = folder / "a.task.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(folder: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(Problems) as caught:
        load_task(write(folder, text))
    return caught.value.problems


def test_a_whole_task_is_read(tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("text,category\n")
    task = load_task(
        write(
            tmp_path,
            "name: intents\ndata: test.csv\nmetric: label\nformat: prompt-completion\nlabels: [no, on, 'a b']\n"
            'columns: {prompt: "Query: {text}", completion: category}\n'
            "system: Be brief.\nmax_new_tokens: 24\nlimit: 500\n",
        )
    )
    assert task == Task(
        name="intents",
        data=str(tmp_path / "test.csv"),
        metric=Label(labels=("no", "on", "a b")),
        format="prompt-completion",
        columns={"prompt": "Query: {text}", "completion": "category"},
        system="Be brief.",
        max_new_tokens=24,
        limit=500,
    )


def test_data_is_beside_the_task_file_or_a_hub_name(tmp_path: Path) -> None:
    assert load_task(write(tmp_path, "name: a\ndata: gone.jsonl\nmetric: rouge_l")).data == str(tmp_path / "gone.jsonl")
    assert load_task(write(tmp_path, "name: a\ndata: openai/gsm8k\nmetric: rouge_l")).data == "openai/gsm8k"
    (tmp_path / "folder").mkdir()
    assert load_task(write(tmp_path, "name: a\ndata: folder\nmetric: rouge_l")).data == str(tmp_path / "folder")


def test_everything_wrong_is_said_at_once_with_line_cause_and_nearest_name(tmp_path: Path) -> None:
    found = problems_of(
        tmp_path,
        "name: 3\ndatta: x.jsonl\nmetric: exact_macth\nmax_new_tokens: 'many'\nlimit: 1.5\nlabels: yes please\n"
        "columns: {prompt: 4}\nname: again\n",
    )
    text = "\n".join(found)
    assert "datta (line 2): unknown setting; did you mean 'data'?" in found
    assert "metric (line 3): 'exact_macth' is unknown; did you mean 'exact_match'?" in found
    assert "max_new_tokens (line 4): expected a whole number, got 'many'" in found
    assert "name (line 1): expected a text, got 3; put it in quotes" in found
    assert "data: missing; every task needs it" in found
    assert "columns.prompt (line 7): expected a text, got 4; put it in quotes" in found
    assert "given twice, on lines 1 and 8" in text
    assert "limit (line 5): expected a whole number, got 1.5" in found


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("metric: json\nlabels: [a]", "only the metric 'label' reads it"),
        ("metric: label\nfields: [a]", "only the metric 'json' reads it"),
        ("metric: label\npattern: a", "only the metric 'regex' or 'style' reads it"),
        ("metric: label\nlabels: yes please", "labels (line 4): expected a list, got 'yes please'"),
        ("metric: mine.py:f\nseconds: 0", "must be above 0"),
        ("metric: mine.py", "is unknown"),
        ("metric: regex", "needs one"),
        ("metric: regex\npattern: 'a('", "is not a regular expression"),
        ("metric: regex\npattern: '(a)(b)'", "has 2 groups"),
        ("metric: json\nmax_new_tokens: 0", "must be at least 1"),
        ("metric: json\nlimit: 0", "must be at least 1"),
        ("metric: json\nformat: alpacca", "did you mean 'alpaca'?"),
    ],
)
def test_settings_out_of_range_or_in_conflict(tmp_path: Path, lines: str, said: str) -> None:
    assert said in "\n".join(problems_of(tmp_path, f"name: a\ndata: b.jsonl\n{lines}\n"))


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "''"])
def test_a_name_must_do_as_a_file_name(tmp_path: Path, name: str) -> None:
    assert "must be usable as a file name" in "\n".join(
        problems_of(tmp_path, f"name: {name}\ndata: b.jsonl\nmetric: json\n")
    )


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "name: [unclosed\n", "just text"])
def test_files_that_are_no_task(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"a\.task\.yaml"):
        load_task(write(tmp_path, text))


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "name: a")
    with pytest.raises(ConfigError, match="did you mean"):
        load_task(tmp_path / "b.task.yaml")


def test_a_task_made_in_code_is_checked_too() -> None:
    fine = Task(name="a", data="b", metric=JsonFields())
    assert as_task(fine) is fine
    with pytest.raises(Problems, match="pattern"):
        as_task(Task(name="a", data="b", metric=Regex()))
