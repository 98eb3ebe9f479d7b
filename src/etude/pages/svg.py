"""matplotlib's figures as inline SVG that takes its colours and letters from the page, and as PNG files."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from etude.errors import EtudeError
from etude.pages.wording import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIGHT = {
    "ink": "#1c1e23", "soft": "#5b5f68", "line": "#e4e0d8", "card": "#ffffff", "tuned": "#3a57c9", "base": "#8a8374",
    "heldout": "#c05a1c", "good": "#1b7a4b", "bad": "#b73a30", "unsure": "#8a6200",
}  # fmt: skip
"""The page's colours by role, in its light theme. All differ, so that SVG can name the role instead."""

STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "etude", "text.parse_math": False, "font.size": 12.0,
    "axes.titlesize": 12.0, "axes.labelsize": 12.0,
    "xtick.labelsize": 11.5, "ytick.labelsize": 11.5, "legend.fontsize": 12.0, "axes.edgecolor": LIGHT["line"],
    "axes.labelcolor": LIGHT["soft"], "axes.titlecolor": LIGHT["ink"], "xtick.color": LIGHT["line"],
    "ytick.color": LIGHT["line"], "xtick.labelcolor": LIGHT["soft"], "ytick.labelcolor": LIGHT["soft"],
    "text.color": LIGHT["ink"], "grid.color": LIGHT["line"], "grid.linewidth": 1.0, "axes.linewidth": 1.0,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False, "xtick.major.size": 0.0,
    "ytick.major.size": 0.0, "xtick.minor.size": 0.0, "ytick.minor.size": 0.0, "axes.facecolor": "none",
    "figure.facecolor": "none", "lines.solid_capstyle": "round", "legend.frameon": False, "axes.axisbelow": True,
    "axes.titlelocation": "left", "axes.titleweight": "normal", "axes.formatter.useoffset": False,
}  # fmt: skip

Draw = Callable[["Figure"], None]


def picture(draw: Draw, *, name: str, alt: str, width: int, height: int) -> Markup:
    """The figure as an `<svg>` element in CSS pixels; `name` keeps its ids apart from other figures'."""
    stream = io.StringIO()
    _drawn(draw, width, height, lambda figure: figure.savefig(stream, format="svg", metadata=dict.fromkeys(_METADATA)))
    return inline(stream.getvalue(), name=name, alt=alt)


def png(draw: Draw, *, width: int, height: int) -> bytes:
    """The same figure as a file: light theme on white, twice the resolution."""
    stream = io.BytesIO()
    _drawn(draw, width, height, lambda figure: figure.savefig(stream, format="png", dpi=144, facecolor=LIGHT["card"]))
    return stream.getvalue()


_METADATA = ("Date", "Creator", "Format", "Type")


def _drawn(draw: Draw, width: int, height: int, save: Callable[[Figure], None]) -> None:
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EtudeError("drawing a report needs matplotlib", remedy='pip install "etude[train]"') from error
    with rc_context(STYLE), warnings.catch_warnings():  # type: ignore[arg-type]
        # Labels come from the data and may hold any script; in a PNG a missing glyph is a box.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        draw(figure)
        save(figure)


def inline(source: str, *, name: str, alt: str) -> Markup:
    """matplotlib's SVG file as an element of an HTML page: no outside names, no own style, the page's colours."""
    body = source[source.index("<svg") :]
    for superfluous in (r"<!--.*?-->", r"<metadata>.*?</metadata>", r"<style.*?</style>"):
        body = re.sub(superfluous, "", body, flags=re.DOTALL)
    opening, rest = body.split(">", 1)
    view_box = re.search(r'viewBox="[\d. ]+"', opening)
    assert view_box
    rest = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', rest)
    rest = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", rest)
    rest = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{name}-\1"', rest)
    rest = re.sub(r'style="[^"]*"', lambda style: _themed(style.group()), rest)
    return Markup(f'<svg class="figure" role="img" aria-label="{escape(visible(alt))}" {view_box.group()}>{rest}')


def _themed(style: str) -> str:
    for role, colour in LIGHT.items():
        style = style.replace(colour, f"var(--{role})")
    return re.sub(r"font: (?:\w+ )*?([\d.]+px)[^;\"]*", r"font-size: \1", re.sub(r"font-family: [^;\"]*;?", "", style))
