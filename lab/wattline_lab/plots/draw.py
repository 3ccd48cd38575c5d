"""One picture: what may be drawn, what is granted, and what is drawn, by priority."""

import io
import re
from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt

from wattline_sim.facility.judging.record import Point

BANDS = (
    ("everything beside GPUs", "#9aa5b1"),
    ("GPUs without a job", "#cbd2d9"),
    ("low priority", "#7cc4fa"),
    ("high priority", "#2186eb"),
)


def draw(points: Sequence[Point], title: str) -> str:
    """The picture as SVG, the same for the same points."""
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "wattline", "font.size": 8, "svg.fonttype": "none"})
    hours = [p.at_s / 3600.0 for p in points]
    figure, axes = plt.subplots(figsize=(7.2, 3.2), layout="constrained")
    layers = [
        [p.other_kw for p in points],
        [p.idle_kw for p in points],
        [p.low_kw for p in points],
        [p.high_kw for p in points],
    ]
    labels, colours = [name for name, _ in BANDS], [colour for _, colour in BANDS]
    axes.stackplot(hours, layers, labels=labels, colors=colours, linewidth=0)
    axes.plot(hours, [p.budget_kw for p in points], color="#ab091e", label="budget", lw=1.4)
    axes.plot(hours, [p.committed_kw for p in points], color="#de911d", label="committed", lw=1.0)
    axes.plot(hours, [p.most_kw for p in points], color="#102a43", label="highest second", lw=0.6)
    axes.set(xlabel="hours", ylabel="kW at the wall", title=title, xlim=(hours[0], hours[-1]))
    axes.set_ylim(0.0, 1.08 * max(p.budget_kw for p in points))
    axes.legend(ncols=4, loc="lower center", fontsize=7, framealpha=0.9)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    plt.close(figure)
    return shorter(out.getvalue())


def shorter(svg: str) -> str:
    """Coordinates to a tenth of a point: a third of the size, the same picture."""
    return re.sub(r"(\d+\.\d)\d+", r"\1", svg)
