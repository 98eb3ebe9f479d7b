"""Run files, good and bad: everything wrong at once, each with its place, cause and nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.config import RunFile, dump, load_run_file
from etude.data.options import DataOptions
from etude.errors import ConfigError, Problems
from etude.models.options import ModelOptions
from etude.objectives.sft import SFT
from etude.techniques.full import Full
from etude.techniques.lora import LoRA
from etude.training.options import TrainOptions

ISSUE = """\
model: smollm2-135m-instruct
data: {train: tickets.jsonl, holdout: 0.1, max_tokens: 1024}
technique: {kind: lora, rank: 16, alpha: 32}
objective: {kind: sft}
training: {epochs: 2, learning_rate: 1e-3, batch_rows: 32, seed: 0}
evaluation: {tasks: [tickets.task.yaml]}
output: runs/tickets
"""
SHORTEST = "model: m\ndata: {train: tickets.jsonl}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the data and the task that the run files here name."""
    (tmp_path / "tickets.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "tickets.task.yaml").write_text("name: tickets\n")
    return tmp_path


def load(folder: Path, text: str, *overrides: str, check_files: bool = True) -> RunFile:
    file = folder / "tickets.yaml"
    file.write_text(text, encoding="utf-8")
    return load_run_file(file, overrides, check_files=check_files)


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(Problems) as error:
        load(folder, text, *overrides)
    return list(error.value.problems)


def test_the_run_file_of_the_readme(folder: Path) -> None:
    run_file = load(folder, ISSUE)
    assert run_file == RunFile(
        model=ModelOptions(name="smollm2-135m-instruct"),
        data=DataOptions(train=str(folder / "tickets.jsonl"), holdout=0.1, max_tokens=1024),
        technique=LoRA(rank=16, alpha=32.0),
        objective=SFT(),
        training=TrainOptions(epochs=2.0, learning_rate=1e-3, batch_rows=32, seed=0),
        evaluation=run_file.evaluation,
        output="runs/tickets",
    )
    assert run_file.evaluation.tasks == (str(folder / "tickets.task.yaml"),)


def test_what_is_left_out_has_its_default(folder: Path) -> None:
    run_file = load(folder, SHORTEST)
    assert (run_file.technique, run_file.objective, run_file.training) == (LoRA(), SFT(), TrainOptions())
    assert run_file.output == "runs/tickets"


def test_kind_alone_may_be_a_word(folder: Path) -> None:
    run_file = load(folder, SHORTEST + "technique: full\nobjective: sft\n")
    assert (run_file.technique, run_file.objective) == (Full(), SFT())


def test_an_empty_section_is_its_defaults(folder: Path) -> None:
    assert load(folder, SHORTEST + "training:\ntechnique:\n").training == TrainOptions()


def test_bom_and_crlf_change_nothing(folder: Path) -> None:
    assert load(folder, "\ufeff" + ISSUE.replace("\n", "\r\n")) == load(folder, ISSUE)


def test_everything_wrong_is_said_at_once(folder: Path) -> None:
    text = """\
model: smollm2-135m-instruct
data: {train: tickets.jsonl, max_tokns: 1024, columns: [1], format: alpca}
objective: {kind: sftt}
training:
  epochs: 1
  steps: 1e3
  batch_rows: big
  clip_norm: "1.0"
  keep_best: yes
  seed: true
evaluation: {tasks: tickets.task.yaml, limit: -1}
outputs: runs/tickets
learning_rate: 1
"""
    assert problems(folder, text, "technique.rnak=3", "model.precision=flot32") == [
        "data.format (line 2): expected one of auto, messages, sharegpt, alpaca, prompt-completion, preference, "
        "judged, grounded, text, got 'alpca'; did you mean 'alpaca'?",
        "data.columns (line 2): expected a mapping of name: value, got [1]",
        "data.max_tokns (line 2): unknown setting; did you mean 'max_tokens'?",
        "objective.kind (line 3): unknown kind 'sftt'; did you mean 'sft'?",
        "training.steps (line 6): expected a whole number, got 1000.0; write 1000",
        "training.batch_rows (line 7): expected a whole number, got 'big'",
        "training.clip_norm (line 8): expected a number, got '1.0'; write it without quotes",
        "training.keep_best (line 9): expected true or false, got 'yes'; write true",
        "training.seed (line 10): expected a whole number, got true",
        "evaluation.tasks (line 11): expected a list, got 'tickets.task.yaml'; write [tickets.task.yaml]",
        "evaluation.limit (line 11): must be at least 1, got -1",
        "outputs (line 12): unknown setting; did you mean 'output'?",
        "learning_rate (line 13): unknown setting; did you mean 'training.learning_rate'?",
        "model.precision (command line): expected one of auto, bfloat16, float32, got 'flot32'; "
        "did you mean 'float32'?",
        "technique.rnak (command line): unknown setting; did you mean 'rank'?",
    ]


def test_ranges_and_conflicts_come_from_the_options_themselves(folder: Path) -> None:
    text = SHORTEST + "technique: {rank: 0}\ntraining: {epochs: 1, steps: 5}\nevaluation: {limit: 0}\n"
    assert problems(folder, text, "data.max_tokens=1") == [
        "technique.rank (line 3): must be from 1 to 4096, got 0",
        "training.steps (line 4): give either epochs or steps, not both",
        "evaluation.limit (line 5): must be at least 1, got 0",
        "data.max_tokens (command line): must be at least 2, got 1",
    ]


def test_a_conflict_between_sections(folder: Path) -> None:
    text = "model: m\ndata: {train: tickets.jsonl, holdout: 0}\ntraining: {patience: 3}\n"
    assert problems(folder, text) == ["training.patience (line 3): needs held-out rows, but data.holdout is 0"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model: m\n", "data: missing; it says where the examples are, as in 'data: {train: rows.jsonl}'"),
        ("data: {train: tickets.jsonl}\n", "model: missing; it says which base model to start from"),
        ("model: m\ndata: {}\n", "data.train (line 2): missing"),
        ("model: 3\ndata: {train: tickets.jsonl}\n", "model (line 1): expected a section of settings, got 3"),
        (
            "model: {name: 7}\ndata: {train: tickets.jsonl}\n",
            "model.name (line 1): expected text, got 7; write it in quotes",
        ),
        (
            SHORTEST + "technique: {kind: 3}\n",
            "technique.kind (line 3): unknown kind 3; choose from full, freeze, ",
        ),
        (SHORTEST + "technique: 3\n", "technique (line 3): expected settings such as 'kind: lora', got 3"),
        (SHORTEST + "technique: {kind: full, rank: 8}\n", "technique.rank (line 3): belongs to kind lora, not to full"),
        (SHORTEST + "objective: {beta: 0.1}\n", "objective.beta (line 3): belongs to kind dpo, not to sft"),
        (
            "model: m\ndata: {train: tickets.jsonl, holdout: [1]}\n",
            "data.holdout (line 2): expected a number or text, got [1]",
        ),
        ("model: m\ndata: {train: tickets.jsonl, columns: {a: 1}}\n", "data.columns.a (line 2): expected text, got 1"),
        (
            SHORTEST + "evaluation: {tasks: [tickets.task.yaml, 3]}\n",
            "evaluation.tasks[1] (line 3): expected text, got 3",
        ),
        (SHORTEST + "output: [a]\n", "output (line 3): expected text, got ['a']"),
        (SHORTEST + "training: {seed: 1, seed: 2}\n", "training.seed (line 3): given twice, on lines 3 and 3"),
        (SHORTEST + "training: {learning_rate: .nan}\n", "training.learning_rate (line 3): must be a finite number"),
        (SHORTEST + "training: {learning_rate: .inf}\n", "training.learning_rate (line 3): must be a finite number"),
    ],
)
def test_one_thing_wrong(folder: Path, text: str, says: str) -> None:
    found = problems(folder, text)
    assert len(found) == 1
    assert found[0].startswith(says)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty; a run file needs at least model and data"),
        ("- a\n- b\n", "expected settings such as 'model: …', got a list"),
        ("just words\n", "expected settings such as 'model: …', got 'just words'"),
    ],
)
def test_a_file_that_is_no_run_file(folder: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=r"tickets\.yaml: ") as error:
        load(folder, text)
    assert says in str(error.value)


def test_files_that_are_not_there_are_named_with_the_rest(folder: Path) -> None:
    text = (
        "model: ./base\ndata: {train: ticket.jsonl, holdout: other.csv}\nevaluation: {tasks: [t/x.task.yaml]}\nx: 1\n"
    )
    found = problems(folder, text)
    assert found[:-1] == [
        f"model.name (line 1): no such file: {folder / 'base'}",
        f"data.train (line 2): no such file: {folder / 'ticket.jsonl'}; did you mean 'tickets.jsonl'?",
        f"data.holdout (line 2): no such file: {folder / 'other.csv'}",
        f"evaluation.tasks[0] (line 3): no such file: {folder / 't/x.task.yaml'} (there is no folder {folder / 't'})",
    ]
    assert found[-1].startswith("x (line 4): unknown setting; known here: model, data, technique, ")


def test_files_need_not_be_there_to_read_an_old_run(folder: Path) -> None:
    run_file = load(folder, "model: m\ndata: {train: gone.jsonl}\n", check_files=False)
    assert run_file.data.train == str(folder / "gone.jsonl")


def test_hub_names_stay_as_they_are(folder: Path) -> None:
    run_file = load(folder, "model: org/model\ndata: {train: org/rows}\n")
    assert (run_file.model.name, run_file.data.train) == ("org/model", "org/rows")


def test_a_model_file_is_found_beside_the_run_file(folder: Path) -> None:
    (folder / "base.gguf").write_bytes(b"GGUF")
    assert load(folder, "model: base.gguf\ndata: {train: tickets.jsonl}\n").model.name == str(folder / "base.gguf")


def test_overrides_go_through_the_same_decoder(folder: Path) -> None:
    run_file = load(
        folder, ISSUE, "training.epochs=null", "training.steps=50", "training.learning_rate=5e-4",
        "model.precision=float32", "technique={kind: lora, rank: 4}",
        "evaluation.tasks=[]", "data.columns.text=body", "output=runs/other",
    )  # fmt: skip
    assert (run_file.training.epochs, run_file.training.steps, run_file.training.learning_rate) == (None, 50, 5e-4)
    assert run_file.model == ModelOptions(name="smollm2-135m-instruct", precision="float32")
    assert run_file.technique == LoRA(rank=4)
    assert run_file.evaluation.tasks == ()
    assert (run_file.data.columns, run_file.output) == ({"text": "body"}, "runs/other")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.steps", "expected section.setting=value, got 'training.steps'"),
        ("=3", "expected section.setting=value"),
        ("training..steps=3", "expected section.setting=value"),
        ("training.steps=[1", "command line (training.steps):1: is not YAML"),
    ],
)
def test_an_override_that_cannot_be_read(folder: Path, override: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(folder, SHORTEST, override)
    assert says in str(error.value)


def test_an_override_below_a_value(folder: Path) -> None:
    assert problems(folder, ISSUE, "output.x=1") == [
        "output.x (command line): cannot be set: output is not a section of settings"
    ]


@given(
    rank=st.integers(1, 4096),
    alpha=st.floats(1e-6, 1e6),
    learning_rate=st.floats(1e-12, 1e3),
    seed=st.integers(0, 2**63 - 1),
    system=st.none() | st.text(max_size=30),
    columns=st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3),
    stem=st.text(st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="/"), min_size=1, max_size=8),
)
def test_a_resolved_run_file_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory,
    rank: int,
    alpha: float,
    learning_rate: float,
    seed: int,
    system: str | None,
    columns: dict[str, str],
    stem: str,
) -> None:
    run_file = RunFile(
        model=ModelOptions(name=f"org/{stem}"),
        data=DataOptions(train=f"/rows/{stem}.jsonl", system=system, columns=columns),
        technique=LoRA(rank=rank, alpha=alpha),
        objective=SFT(),
        training=TrainOptions(learning_rate=learning_rate, seed=seed),
        output=stem,
    )
    file = tmp_path_factory.mktemp("run") / "run.yaml"
    file.write_text(dump(run_file), encoding="utf-8")
    assert load_run_file(file, check_files=False) == run_file


def test_a_resolved_run_file_means_the_same_elsewhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    run_file = load(folder, ISSUE)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "run.yaml"
    elsewhere.write_text(dump(run_file), encoding="utf-8")
    assert load_run_file(elsewhere) == run_file
