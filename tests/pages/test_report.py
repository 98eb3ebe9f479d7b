"""The report page: every part of a run is on it, with the files' own numbers, and nothing in a run can act on it."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from etude.comparison.verdict import compare, load_verdicts, save_verdicts
from etude.errors import RunError
from etude.evaluation.metrics.label import Label
from etude.evaluation.report import Report
from etude.pages.report import render, write_report
from etude.pages.run_files import read_run_files
from etude.runs.manifest import Manifest
from tests.pages import synthetic_run
from tests.pages.synthetic_run import write_data, write_manifest, write_metrics, write_run, write_run_file

VOID = {"meta", "br", "hr", "img", "input", "link"}
HOSTILE = (
    '</pre></style><script>alert(1)</script>"><img src=x onerror=alert(2)>\x00\x1b[31m\u202egpj.exe\ud800 $x^2$ --> ]]>'
)


class Page(HTMLParser):
    """What a browser would see: elements with attributes, the nesting checked, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.ids: list[str] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == [], f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.elements.append((tag, found))
        self.ids += [found["id"]] if "id" in found else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).replace("\u202f", " ").split()).replace(" ,", ",")

    def tags(self, name: str) -> Iterator[dict[str, str]]:
        return (attributes for tag, attributes in self.elements if tag == name)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("runs") / "tickets", rows=60, steps=40)
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_section_is_there(page: Page) -> None:
    wanted = {
        "verdict",
        "figures",
        "learning",
        "task-1",
        "task-2",
        "task-3",
        "overfitting",
        "data",
        "time",
        "reproduce",
        "next",
    }
    assert wanted <= set(page.ids)
    for heading in ("Confusion matrix", "Most frequent confusions", "Fields", "Before and after", "Example rows"):
        assert heading in page.text
    assert "could not show" not in page.text


def test_the_plots_are_png_files(run: Path) -> None:
    assert {file.name for file in (run / "plots").iterdir()} == {
        "loss.png",
        "scores.png",
        "confusion.png",
        "fields.png",
    }
    for file in (run / "plots").iterdir():
        assert file.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert file.stat().st_size > 5_000, f"{file.name} looks empty"


def test_the_page_asks_for_nothing_and_runs_nothing(html: str, page: Page) -> None:
    assert not re.search(r"https?:|//[a-z]|@import|@font-face|url\((?!#)", html)
    assert not {"script", "link", "iframe", "object", "embed", "form", "img"} & {tag for tag, _ in page.elements}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    (policy,) = (meta["content"] for meta in page.tags("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert [link["href"] for link in page.tags("a") if not link["href"].startswith("#")] == []


def test_ids_are_unique_and_links_and_references_resolve(html: str, page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    used = {link["href"][1:] for tag in ("a", "use") for link in page.tags(tag)} | set(
        re.findall(r"url\(#([^)]+)\)", html)
    )
    assert used <= set(page.ids)


def test_figures_take_their_colours_from_the_page_and_say_what_they_show(page: Page) -> None:
    figures = list(page.tags("svg"))
    assert len(figures) >= 8
    assert all(figure["role"] == "img" and len(figure["aria-label"]) > 20 for figure in figures)
    styles = [
        attributes["style"] for tag, attributes in page.elements if tag in ("path", "text") and "style" in attributes
    ]
    assert not [style for style in styles if re.search(r"#[0-9a-f]{6}|font-family", style)]
    assert any("var(--tuned)" in style for style in styles)


def test_tables_have_headers(page: Page) -> None:
    heads = list(page.tags("th"))
    assert heads
    assert all(head.get("scope") in ("row", "col") for head in heads)


def test_the_verdicts_are_the_files(run: Path, page: Page) -> None:
    verdicts, gap = load_verdicts(run / "verdict.json")
    assert len(verdicts) == 3
    for verdict in verdicts:
        assert f"{verdict.answer.capitalize()}:" in page.text
    tickets = verdicts[0]
    said = (
        f"all fields right {100 * tickets.base:.1f} % → {100 * tickets.tuned:.1f} %,"
        f" +{100 * tickets.difference:.1f} points, {100 * tickets.level:.4g} % interval"
        f" {100 * tickets.low:.1f} to {100 * tickets.high:.1f}, n = 60 (exact McNemar p"
    )
    assert said in page.text
    assert f"nats per token {verdicts[2].base:.4f} → {verdicts[2].tuned:.4f}" in page.text
    assert gap is not None
    assert f"a gap of {gap.gap:+.4f}, 95 % interval {gap.low:+.4f} to {gap.high:+.4f}" in page.text


def test_a_single_verdict_is_one_plain_sentence(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rows=200, steps=5)
    base, tuned = synthetic_run.tickets(200, 0)
    verdict = compare(tuned, base)
    save_verdicts(folder / "verdict.json", [verdict])
    said = Page(render(read_run_files(folder))).text
    assert (
        f"Better: all fields right {100 * verdict.base:.1f} % → {100 * verdict.tuned:.1f} %,"
        f" +{100 * verdict.difference:.1f} points, 95 % interval {100 * verdict.low:.1f} to {100 * verdict.high:.1f},"
        " n = 200 (exact McNemar p < 1e-9)"
    ) in said
    assert "The gap between training and held-out loss was not measured" in said


def test_scores_and_fields_are_the_reports(run: Path, page: Page) -> None:
    for name in ("tickets", "intents"):
        for file in (f"{name}.base.jsonl", f"{name}.jsonl"):
            report = Report.load(run / "reports" / file)
            assert f"{100 * report.summary[report.metric]:.1f} %" in page.text
            low, high = report.intervals[report.metric]
            assert f"{100 * low:.1f} to {100 * high:.1f} %" in page.text
    for row in Report.load(run / "reports" / "tickets.jsonl").tables["fields"]:
        assert f"{row['field']} " in page.text
        assert f"{100 * row['f1']:.1f} %" in page.text


def test_losses_and_speed_are_those_of_the_metrics(run: Path, page: Page) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    updates = [row for row in rows if "loss" in row]
    heldout = min(row["heldout_loss"] for row in rows if "heldout_loss" in row)
    tokens, seconds = sum(row["tokens"] for row in updates), sum(row["seconds"] for row in updates)
    assert f"its lowest was {heldout:.{3 - 1 - math.floor(math.log10(heldout))}f} at update 40" in page.text
    assert f"tokens a second {tokens / seconds:,.0f}" in page.text
    assert f"{tokens:,}" in page.text


def test_data_environment_and_command_are_the_files(run: Path, page: Page) -> None:
    manifest = Manifest.load(run)
    for hash_ in (manifest.base.hash, manifest.data.sha256, manifest.template_sha256, manifest.config_sha256):
        assert hash_ in page.text
    assert "etude train tickets.yaml training.epochs=2 'output=runs/my tickets'" in page.text
    assert "etude chat 'runs/my tickets'" in page.text
    assert "learned tokens 31,977 30.5 % of all" in page.text
    assert "9 rows repeat an earlier one" in page.text
    assert "2 dropped, 0 with a cut prompt policy: drop" in page.text
    assert "JSONL, messages (role/content), 812 rows" in page.text
    assert manifest.files["metrics.jsonl"].sha256 in page.text
    assert "learning_rate: 0.001" in page.text


def test_the_answers_are_mixed_and_counted(run: Path, page: Page) -> None:
    base, tuned = (Report.load(run / "reports" / name) for name in ("intents.base.jsonl", "intents.jsonl"))
    pairs = [
        (mine.scores["accuracy"], theirs.scores["accuracy"])
        for mine, theirs in zip(base.items, tuned.items, strict=True)
    ]
    for change, pair in {"fixed by training": (0, 1), "wrong both times": (0, 0), "right both times": (1, 1)}.items():
        assert f"{pairs.count(pair)} {change}" in page.text
    assert page.text.count("✓ right") > 3
    assert page.text.count("✗ wrong") > 3


def test_white_space_of_texts_is_kept(html: str) -> None:
    assert "white-space: pre-wrap" in html
    assert "Sure! Here is the JSON you asked for:\n\n  intent: " in html


def test_hostile_text_is_shown_not_obeyed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "reports").mkdir(parents=True)
    labels = Label(labels=(HOSTILE.replace("\ud800", ""), "b"))
    answers = [(f"prompt {HOSTILE}", label, answer) for label in labels.labels for answer in (*labels.labels, HOSTILE)]
    reports = [synthetic_run.report("intents", answers, labels, subject=side) for side in ("base", HOSTILE)]
    for name, report in zip(("intents.base", "intents"), reports, strict=True):
        header = {
            "format": 1, "task": HOSTILE, "metric": "accuracy", "subject": HOSTILE, "model_hash": "0",
            "data_sha256": "0", "summary": report.summary, "intervals": {"accuracy": [0.1, 0.9]},
            "tables": report.tables,
            "num_items": len(report.items),
        }  # fmt: skip
        items = [
            {"id": HOSTILE + str(place), "prompt": item.prompt, "reference": item.reference, "answer": item.answer,
             "scores": dict(item.scores), "details": {"fields": {HOSTILE: "wrong"}}}
            for place, item in enumerate(report.items)
        ]  # fmt: skip
        synthetic_run.write_lines(folder / "reports" / f"{name}.jsonl", [{"report": header}, *items])
    write_metrics(folder, steps=3, seed=0)
    write_data(folder, source=HOSTILE, examples=[[[HOSTILE, "learned"], [HOSTILE, HOSTILE]]])
    (folder / "run.yaml").write_text(f"output: {json.dumps(HOSTILE)}\n")
    plain = HOSTILE.replace("\ud800", "")
    write_manifest(folder, command=("etude", plain), created=plain, timings={plain: 1.0, "train": 2.0})
    html = write_report(folder).read_text(encoding="utf-8")
    page = Page(html)
    assert not {"script", "img"} & {tag for tag, _ in page.elements}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)") > 10
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ud800]", html)
    assert "␀␛[31m⟨U+202E⟩gpj.exe" in html
    assert html.count("<style>") == html.count("</style>") == 1


def test_an_interrupted_run_has_a_page(tmp_path: Path) -> None:
    write_metrics(tmp_path, steps=17, seed=1)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 16, "loss": 9.5, "tokens": 5, "seconds": 1, "warning": "the loss rose 20 times"}\n')
        file.write('{"step": 18, "loss": NaN, "tokens": 5, "seconds": 1}\n{"step": 19, "lo')
    write_run_file(tmp_path)
    write_manifest(tmp_path, status="interrupted", timings={"prepare": 2.0})
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "No verdict" in page.text
    assert "The run was interrupted after update 17" in page.text
    assert "update 16: the loss rose 20 times" in page.text
    assert "metrics.jsonl: 1 unreadable line left out" in page.text
    assert "metrics.jsonl: 1 update with a loss that is not a number, not drawn" in page.text
    assert "data.json is not there" in page.text
    assert "go on from the last checkpoint" in page.text
    assert "No task was evaluated" in page.text
    assert [file.name for file in (tmp_path / "plots").iterdir()] == ["loss.png"]


FILES = ("manifest.json", "run.yaml", "data.json", "metrics.jsonl", "verdict.json", "reports/intents.jsonl")


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "binary"])
@pytest.mark.parametrize("name", FILES)
def test_any_one_file_may_be_damaged(run: Path, tmp_path: Path, name: str, damage: str) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    file = folder / name
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "binary": b"\xff\xfe\x00" * 9}[damage])
    files = read_run_files(folder)
    # Half the lines can be whole, an empty file has no torn line, and a report need not exist.
    silent = (
        damage in ("empty", "cut") if name in ("run.yaml", "metrics.jsonl") else (name, damage) == (FILES[5], "missing")
    )
    assert silent or [notice for notice in files.notices if notice.startswith(name)]
    if damage == "missing":
        page = Page(render(files))
        assert silent or name in page.text


def test_values_of_the_wrong_kind_are_left_out(run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    write_data(
        folder, tokens=5, over_length=[], duplicates=None, rows="many", examples=[7, [["a"], "b", [1, "learned"]]]
    )
    (folder / "run.yaml").write_text("- not\n- a mapping\n")
    (folder / "metrics.jsonl").write_text('7\n{"step": "one", "loss": 1}\n{"step": 1, "loss": "low"}\n{"step": 2}\n')
    page = Page(render(read_run_files(folder)))
    assert "metrics.jsonl: 2 unreadable lines left out" in page.text
    assert "No update has been logged" in page.text


def test_a_manifest_alone_makes_a_page_and_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(RunError, match="holds no run"):
        write_report(tmp_path)
    write_manifest(tmp_path, status="failed", timings={})
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "The run failed before the first update" in page.text
    assert not (tmp_path / "plots").exists()


def test_a_task_measured_once_says_so(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rows=12, steps=6)
    (folder / "reports" / "intents.base.jsonl").unlink()
    (folder / "reports" / "tickets.jsonl").unlink()
    page = Page(render(read_run_files(folder)))
    assert "The base model was not measured on this task" in page.text
    assert "Measured before training only" in page.text


def test_a_perplexity_task_alone(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rows=20, steps=6)
    base, tuned = synthetic_run.prose(20, 0)
    for name in ("intents", "tickets"):
        (folder / "reports" / f"{name}.jsonl").unlink()
        (folder / "reports" / f"{name}.base.jsonl").unlink()
    save_verdicts(folder / "verdict.json", [compare(tuned, base)])
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert f"nats per token {base.summary['nats_per_token']:.4f} →" in page.text
    assert "perplexity" in page.text
    assert "Before and after" not in page.text
    assert [file.name for file in (folder / "plots").iterdir()] == ["loss.png"]


def test_many_labels_make_a_heat_map_and_a_table(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", rows=300, steps=6, num_labels=77)
    html = render(read_run_files(folder))
    page = Page(html)
    assert html.count("<svg") >= 6
    matrix = Report.load(folder / "reports" / "intents.jsonl").tables["confusion"]
    worst = max(
        (count, matrix["rows"][row], matrix["columns"][column])
        for row, counts in enumerate(matrix["counts"])
        for column, count in enumerate(counts)
        if row != column
    )
    assert f"{worst[1]} {worst[2]} {worst[0]} " in page.text
    assert "Confusion matrix of intents, after training" in html
    assert "Confusion matrix of intents, base model" not in html


def test_a_long_run_is_thinned(tmp_path: Path) -> None:
    write_metrics(tmp_path, steps=20_000, seed=0)
    write_manifest(tmp_path)
    html = render(read_run_files(tmp_path))
    assert len(html) < 400_000
    assert "20,000 updates" in html


def test_the_page_is_the_same_each_time(run: Path, html: str) -> None:
    assert render(read_run_files(run)) == html
