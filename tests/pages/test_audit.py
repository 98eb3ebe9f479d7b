"""The page of an audit: every part of it is there, and nothing in a row can act on it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from etude.data.audit.audit import audit
from etude.data.inputs import open_inputs
from etude.pages.audit import render_audit, write_audit
from etude.pages.audit_figures import NAME_HEIGHT, apart
from tests.data.audit.made import asked, audited, pairs, written
from tests.pages.test_report import HOSTILE, Page

MADE = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of rows with everything in them, hostile texts included."""
    folder = tmp_path_factory.mktemp("audit")
    rows: list[dict[str, str]] = [
        {"prompt": asked(at), "completion": ("yes", "no", "maybe")[at % 3], "region": ("north", "south")[at % 2]}
        for at in range(120)
    ]
    hostile = HOSTILE.encode("utf-8", "ignore").decode()
    rows[7]["prompt"] += hostile
    rows[8]["completion"] = f"{hostile} "
    rows[9] = {**rows[8], "region": hostile}
    traffic = [{"prompt": f"Why does the weather in {at} countries change so often {hostile}"} for at in range(60)]
    inputs = open_inputs([written(folder / "<b>rows.jsonl", rows)])
    found = audit(inputs, production=open_inputs([written(folder / "traffic.jsonl", traffic)]))
    return render_audit(found, made=MADE)


def test_every_part_is_on_the_page(html: str) -> None:
    page = Page(html)
    assert {"verdict", "findings", "labels", "topics", "production", "forms", "groups", "method"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids)), "ids are unique"
    for word in ("outer-spaces", "2026-01-02 03:04 UTC", "like no training row", "etude data clean", "rows.jsonl:9"):
        assert word in page.text


def test_nothing_of_a_row_can_act(html: str) -> None:
    page = Page(html)
    assert not list(page.tags("script"))
    assert not list(page.tags("img"))
    assert not [name for _, found in page.elements for name in found if name.startswith("on")]
    assert not re.search(r"""(?:src|href)=["'](?!#)""", html), "no outside resource"
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "<b>rows" not in html
    assert "default-src 'none'" in html


def test_the_same_audit_is_the_same_page(tmp_path: Path) -> None:
    found = audited(written(tmp_path / "rows.jsonl", pairs(60)))
    again = audited(tmp_path / "rows.jsonl")
    assert found == again
    assert render_audit(found, made=MADE) == render_audit(again, made=MADE)
    write_audit(found, tmp_path / "page.html")
    assert "Nothing stands in the way of training" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "tokens of a row" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_bubbles_and_their_names_keep_apart() -> None:
    radii = [40.0] * 12
    places = apart([(500.0, 300.0)] * 12, radii, 1000, 620)
    assert len(set(places)) == 12
    for at, (x, y) in enumerate(places):
        assert 40 <= x <= 960
        assert 40 <= y <= 620
        for other_x, other_y in places[:at]:
            assert abs(x - other_x) > 70 or abs(y - other_y) > 80 + NAME_HEIGHT - 10
