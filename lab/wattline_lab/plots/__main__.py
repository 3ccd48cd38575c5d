"""`python -m wattline_lab.plots SCENARIO OUT.svg`: draw budget, committed and measured watts."""

import argparse
import sys
from pathlib import Path

from wattline_lab.plots.draw import draw
from wattline_sim.facility.judging.record import Recorder
from wattline_sim.facility.names import SCENARIO_NAMES
from wattline_sim.facility.run import Size
from wattline_sim.facility.simulate import Ask, simulate

POINTS = 480
"""Of the picture, whatever the hours: means over what lies between."""


def main() -> None:
    """Run one scenario under the product."""
    parser = argparse.ArgumentParser(prog="python -m wattline_lab.plots", description=__doc__)
    parser.add_argument("scenario", choices=SCENARIO_NAMES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    recorder = Recorder(every_s=max(1, round(args.hours * 3600 / POINTS)))
    ask = Ask(args.scenario, "wattline", args.nodes, Size(args.hours, args.seed))
    report = simulate(ask, _tell, versus_static=False, watch=recorder.second)
    gpus, seed = report.gpus, report.seed
    title = f"{args.scenario}: {gpus} GPUs on a feed for {gpus / 1.5:.0f} at TDP, seed {seed}"
    args.out.write_text(draw(recorder.points, title), encoding="utf-8")
    sys.stdout.write(f"{args.out}: {len(recorder.points)} points, {report.trips} trips\n")


def _tell(share: float) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{share:4.0%} ")


if __name__ == "__main__":
    main()
