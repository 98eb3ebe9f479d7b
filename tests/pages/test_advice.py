"""The page of advice says what was measured, and when it pays."""

from __future__ import annotations

from datetime import UTC, datetime

from etude.advice.curve import learning_curve
from etude.advice.recommend import Advice, Wishes, recommend
from etude.pages.advice import render_advice
from tests.advice.arms import PROMPTED, TUNED, Says, arm


def test_the_page_holds_recommendation_reasons_and_pictures() -> None:
    arms = (TUNED, arm(PROMPTED, title="<b>big</b>, 8 examples"))
    items = [[1.0] * right + [0.0] * (100 - right) for right in (60, 75, 85)]
    curve = learning_curve((100, 300, 1000), items, (3000,))
    found = recommend(arms, Says("better"), Wishes(), curve)
    text = render_advice(
        Advice("tickets", arms, arms[:1], found, curve, Wishes()), made=datetime(2026, 1, 2, tzinfo=UTC)
    )
    assert "Fine-tune: small, fine-tuned on 300 rows" in text
    assert "&lt;b&gt;big&lt;/b&gt;" in text
    assert "paid back after 10,000 requests" in text
    assert text.count("<svg") == 6  # arms, curve and costs, wide and narrow
    assert "3,000" in text
