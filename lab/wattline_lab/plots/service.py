"""`python -m wattline_lab.plots.service TRACE OUT.svg`: a service scaled in two ways."""

import argparse
import io
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from wattline_lab.plots.draw import shorter
from wattline_sim.service.compare import Ask, Setting, setting_of
from wattline_sim.service.requests import MINUTE_S
from wattline_sim.service.run import STEPS_A_SECOND, Scaling, begun
from wattline_sim.service.side import LEAD_S

EVERY_S = 10
"""Points are means over so many seconds."""
COLOURS = {"wattline": "#2186eb", "fixed": "#de911d"}

Floats = npt.NDArray[np.float64]


def series(setting: Setting, scaling: Scaling, seed: int) -> Floats:
    """(2, points): replicas, and draw of a GPU of the service, after the lead-in."""
    run = begun(setting.building, setting.requests, seed, scaling, setting.start_count)
    rows: list[tuple[int, float]] = []
    for step in range(round(setting.requests.arrival_s[-1]) * STEPS_A_SECOND):
        run.step()
        if step % STEPS_A_SECOND == 0 and step >= LEAD_S * STEPS_A_SECOND:
            watts = run.stage.plant.cards.power_w[run.stage.service_gpus]
            rows.append((run.stage.count, float(watts.mean())))
    whole = len(rows) // EVERY_S * EVERY_S
    columns = np.array(rows[:whole], np.float64).T
    return np.asarray(columns.reshape(2, -1, EVERY_S).mean(axis=2))


def draw(setting: Setting, seed: int, title: str) -> str:
    """The picture as SVG, the same for the same setting."""
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "wattline", "font.size": 8, "svg.fonttype": "none"})
    figure, panels = plt.subplots(3, figsize=(7.2, 4.4), sharex=True, layout="constrained")
    load = 100.0 * setting.requests.by_minute() / MINUTE_S
    load = load[round(LEAD_S / MINUTE_S) :] / (setting.capacity * setting.bounds.most)
    panels[0].stairs(load, fill=True, color="#9aa5b1")
    panels[0].set(ylabel="load, % of capacity", title=title, ylim=0.0)
    ways: dict[str, Scaling] = {"wattline": setting.wattline(), "fixed": setting.fixed()}
    for name, scaling in ways.items():
        colour = COLOURS[name]
        replicas, watts = series(setting, scaling, seed)
        minutes = np.arange(len(watts)) * EVERY_S / MINUTE_S
        panels[1].step(minutes, replicas, color=colour, label=name, lw=1.2)
        panels[2].plot(minutes, watts, color=colour, lw=0.9)
    panels[1].set(ylabel="replicas", ylim=0.0)
    panels[1].legend(loc="upper right", fontsize=7)
    panels[2].set(ylabel="W of a GPU", xlabel="minutes", ylim=0.0)
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    plt.close(figure)
    return shorter(out.getvalue())


def main() -> None:
    """Run both sides."""
    parser = argparse.ArgumentParser(prog="python -m wattline_lab.plots.service")
    parser.add_argument("trace", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    setting = setting_of(Ask(args.trace, args.nodes, args.seed))
    title = f"{args.trace.name}, {args.nodes} nodes, seed {args.seed}, simulated"
    args.out.write_text(draw(setting, args.seed, title), encoding="utf-8")
    sys.stdout.write(f"{args.out}\n")


if __name__ == "__main__":
    main()
