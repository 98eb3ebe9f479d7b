"""etude runs, show, diff and scan, as a user meets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from etude.cli import terminal
from etude.cli.main import main
from tests.runs.made import make_run, verdict


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ETUDE_HOME", str(tmp_path / "home"))
    resize(monkeypatch, 120)


def resize(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    terminal._console.cache_clear()


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_the_list_shows_what_people_choose_by(capsys: pytest.CaptureFixture[str]) -> None:
    make_run(Path("runs/tickets"), verdicts=(verdict(),))
    make_run(Path("runs/broken-off"), status="interrupted")
    assert main(["runs"]) == 0
    out = said(capsys)
    [line] = [line for line in out.splitlines() if line.strip().startswith("tickets")]
    for fact in ("finished", "base-135m", "lora r16", "1.000", "3.0 % → 91.5 %", "better", " d"):
        assert fact in line
    assert "[+83.5, +93.5]" in out
    assert "interrupted" in out


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resize(monkeypatch, width)
    make_run(Path("runs/a-run-with-a-very-long-name-indeed-and-longer"), verdicts=(verdict(), verdict("other")))
    for command in (["runs"], ["runs", "--all"]):
        assert main(command) == 0
        assert all(len(line) <= width for line in said(capsys).splitlines())


def test_no_name_steers_the_terminal_or_is_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("\x1b[31mred\x1b]0;owned\x07", "[bold]loud")
    for name in names:
        make_run(Path("runs") / name, verdicts=(verdict("\x1b[2Jtask"),))
    paths = [str(Path("runs") / name) for name in names]
    for command in (["runs"], ["runs", "--all"], ["runs", "show", paths[0]], ["runs", "diff", *paths, "--full"]):
        assert main(command) == 0
        out = said(capsys)
        assert not any(ord(letter) < 32 and letter not in "\n\t" for letter in out), command
        assert "\\x1b[31mred" in out
        if "show" not in command:
            assert "[bold]loud" in out
    assert main(["runs", "scan", "runs"]) == 0


def test_no_runs_is_said_with_the_way_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert "no runs in runs; etude quickstart makes one" in said(capsys)


def test_show_tells_the_facts_and_checks_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(Path("runs/tickets"), verdicts=(verdict(),), run_id="abcdef012345")
    for name in ("tickets", "runs/tickets"):
        assert main(["runs", "show", name]) == 0
    out = said(capsys)
    for fact in ("abcdef012345", "org/base-135m", "etude train 'my tickets.yaml'", "+88.5 [+83.5, +93.5]", "intact"):
        assert fact in out
    run.run_file.write_text("changed")
    assert main(["runs", "show", "abcd"]) == 1
    assert "run.yaml" in said(capsys)


def test_a_misspelt_run_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    make_run(Path("runs/tickets"))
    assert main(["runs", "show", "tickts"]) == 2
    assert "no such run; did you mean runs/tickets?" in said(capsys)


def test_an_id_that_fits_two_runs_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        make_run(Path("runs") / name, run_id=f"abcd{name}")
    main(["runs", "scan", "runs"])
    assert main(["runs", "show", "abcd"]) == 2
    assert "is the id of 2 runs" in said(capsys)


def test_diff_shows_differences_and_with_full_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    make_run(Path("runs/a"))
    make_run(Path("runs/b"), learning_rate=1e-4)
    assert main(["runs", "diff", "a", "b"]) == 0
    out = said(capsys)
    assert "training.learning_rate" in out
    assert "training.epochs" not in out
    assert "are the same in both; --full shows them" in out
    assert main(["runs", "diff", "a", "b", "--full"]) == 0
    assert "training.epochs" in said(capsys)
    assert main(["runs", "diff", "a", "a"]) == 0


def test_scan_counts_and_names_damage(capsys: pytest.CaptureFixture[str]) -> None:
    make_run(Path("runs/a"))
    make_run(Path("runs/b")).manifest_file.write_text("{")
    assert main(["runs", "scan", "runs"]) == 0
    out = said(capsys)
    assert "2 runs in runs" in out
    assert "damaged" in out
    assert main(["runs", "scan", "gone"]) == 2
    assert main(["runs", "show", "b"]) == 2


def test_names_are_never_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    make_run(Path("runs/[red]x"), verdicts=(verdict("[b]t"),))
    assert main(["runs"]) == 0
    assert "[red]x" in said(capsys)
    assert main(["runs", "show", "[red]x"]) == 0
    assert "[b]t" in said(capsys)


def test_a_damaged_index_is_told_and_rebuilt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(Path("runs/a"))
    main(["runs"])
    (tmp_path / "home" / "index.db").write_text("junk " * 500)
    capsys.readouterr()
    assert main(["runs"]) == 0
    out = said(capsys)
    assert "was damaged" in out
    assert "finished" in out
