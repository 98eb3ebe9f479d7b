"""Curves are thinned and smoothed without moving them, and drawings carry untrusted labels safely."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from etude.pages.figures import (
    Confusion,
    Curve,
    Pair,
    before_and_after,
    confusion_matrix,
    loss_curves,
    smoothed,
    thinned,
    trend,
)
from etude.pages.svg import LIGHT, Draw, picture, png

EMPTY = Curve((), ())
HOSTILE = '--><script>alert(1)</script>" onload="x" $\\frac{1}{0}$ id="a" &amp; 日本語 \x00'


def curve(values: list[float]) -> Curve:
    return Curve(tuple(range(1, len(values) + 1)), tuple(values))


losses = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400)


@given(losses)
def test_smoothing_is_the_running_mean_and_a_line_at_the_ends(values: list[float]) -> None:
    calm, reach = smoothed(curve(values)), len(values) // 40
    assert len(calm) == len(values)
    slack = 1e-6 * (1 + max(map(abs, values)))
    for place in range(reach, len(values) - reach):
        window = values[place - reach : place + reach + 1]
        assert calm.values[place] == pytest.approx(sum(window) / len(window), abs=slack)
    if reach:
        places = np.arange(2 * reach + 1)
        line = np.polyfit(places, values[-len(places) :], 1)
        assert calm.values[-1] == pytest.approx(float(np.polyval(line, places[-1])), abs=10 * slack)


def test_a_last_value_that_is_noise_does_not_bend_the_curve() -> None:
    truth = [2 - 0.005 * step for step in range(200)]
    noisy = [value + (0.3 if step % 2 else -0.3) for step, value in enumerate(truth)]
    noisy[-1] = truth[-1] - 1.0
    calm = smoothed(curve(noisy))
    assert abs(calm.values[-1] - truth[-1]) < 0.45, "of a dip of 1.0"
    assert abs(calm.values[0] - truth[0]) < 0.15


def test_smoothing_keeps_a_straight_line() -> None:
    line = curve([0.5 * step for step in range(200)])
    assert smoothed(line).values == pytest.approx(line.values)


@given(losses, st.integers(1, 50))
def test_thinning_keeps_the_mean_and_the_order(values: list[float], most: int) -> None:
    few = thinned(curve(values), most)
    assert len(few) <= most or len(values) <= most
    assert list(few.steps) == sorted(set(few.steps))
    if len(values) % most == 0:
        assert sum(few.values) / len(few) == pytest.approx(
            sum(values) / len(values), abs=1e-6 * (1 + max(map(abs, values)))
        )


DRAWINGS: dict[str, Draw] = {
    "losses": loss_curves(curve([2.0, 1.0, 0.5]), curve([1.5, 0.9])),
    "losses over decades": loss_curves(curve([2.0, 0.2, 0.01]), EMPTY),
    "one point": loss_curves(curve([2.0]), EMPTY),
    "held out only": loss_curves(EMPTY, curve([1.0])),
    "zero loss": loss_curves(curve([0.0, 0.0]), curve([0.0])),
    "negative loss": loss_curves(curve([-1.0, -2.0]), EMPTY),
    "a trend": trend(curve([1.0, 3.0])),
    "a flat trend": trend(curve([0.0])),
    "scores": before_and_after([Pair(HOSTILE, 0.1, 0.9, (0.0, 0.2), (0.8, 1.0)), Pair("b", None, 0.4)], is_share=True),
    "numbers": before_and_after([Pair("nats", 3.0, 2.0)], is_share=False),
    "confusion": confusion_matrix(Confusion((HOSTILE, "b"), (HOSTILE, "b", "(unknown)"), ((3, 0, 1), (0, 0, 0)))),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_drawing_is_svg_in_the_pages_colours_and_a_png(name: str) -> None:
    svg = str(picture(DRAWINGS[name], name="f", alt=HOSTILE, width=400, height=240))
    root = ElementTree.fromstring(svg)
    assert root.attrib["viewBox"] == "0 0 400 240"
    assert "<script" not in svg
    assert not [key for element in root.iter() for key in element.attrib if key.lower().startswith("on")]
    assert "http" not in svg
    assert "<style" not in svg
    styles = " ".join(element.attrib.get("style", "") for element in root.iter())
    assert not any(colour in styles for colour in LIGHT.values())
    assert "var(--" in styles
    assert png(DRAWINGS[name], width=400, height=240).startswith(b"\x89PNG")


def test_two_drawings_share_no_ids() -> None:
    def ids(name: str) -> set[str]:
        svg = str(picture(DRAWINGS["losses"], name=name, alt="losses", width=300, height=200))
        return {element.attrib["id"] for element in ElementTree.fromstring(svg).iter() if "id" in element.attrib}

    assert ids("a")
    assert not ids("a") & ids("b")


@pytest.mark.parametrize("values", [[-0.3, -0.1], [-2.0, 1.0], [0.0, 0.0], [1.0, 3.0]])
def test_a_trend_shows_every_point_and_zero(values: list[float]) -> None:
    figure = Figure()
    trend(curve(values))(figure)
    low, high = figure.axes[0].get_ylim()
    assert low <= min(0.0, *values)
    assert high >= max(0.0, *values)
    assert low < high
