"""`python -m wattline_lab.fit [TRACES] [--out FILE]`: fit all constants, with their residuals."""

import argparse
import sys
from pathlib import Path

import msgspec

from wattline_lab.fit.mlenergy import serving_draws
from wattline_lab.fit.mlperf import h200_curves, h200_node, pcie_node
from wattline_lab.fit.nearest import stand_ins
from wattline_lab.fit.tables import as_markdown
from wattline_lab.fit.traces import VARIABLE, TracesMissing, traces_folder
from wattline_lab.fit.zeus import zeus_curves
from wattline_scheduler.power.demand import models
from wattline_scheduler.power.demand.models.fitted import Fitted

CONSTANTS = Path(models.__path__[0]) / "constants.toml"

HEADER = """\
# Written by `make fit`; do not edit. Performance kept under a cap (curve), what stands in
# where nothing was measured (nearest), server power (node), uncapped draw while serving (draw).
# rmse: of performance (1 = uncapped); rmse_unseen: each kind of job predicted from the others.

"""


def fit_all(traces: Path) -> Fitted:
    """Everything that the scheduler and the simulator load."""
    node = h200_node(traces)
    return Fitted(
        curve=(*zeus_curves(traces), *h200_curves(traces)),
        nearest=tuple(stand_ins()),
        node=(node, pcie_node(traces, node.psu_efficiency)),
        draw=tuple(serving_draws(traces)),
    )


def as_toml(fitted: Fitted) -> str:
    """The text of constants.toml: arrays of tables, in the order of the fields."""
    lines: list[str] = []
    for table, entries in msgspec.to_builtins(fitted).items():
        for entry in entries:
            lines.append(f"[[{table}]]")
            kept = {key: value for key, value in entry.items() if value not in (None, "")}
            lines += [f"{k} = {msgspec.json.encode(v).decode()}" for k, v in kept.items()]
            lines.append("")
    return HEADER + "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Exit status 2 where the traces are missing."""
    parser = argparse.ArgumentParser(prog="python -m wattline_lab.fit", description=__doc__)
    parser.add_argument("traces", nargs="?", help=f"folder of traces; else ${VARIABLE}")
    parser.add_argument("--out", type=Path, default=CONSTANTS, help="default: the package's file")
    parser.add_argument("--table", action="store_true", help="print the loaded constants and stop")
    given = parser.parse_args(arguments)
    if given.table:
        print(as_markdown(models.FITTED))
        return 0
    try:
        fitted = fit_all(traces_folder(given.traces))
    except TracesMissing as missing:
        print(f"fit: {missing}", file=sys.stderr)
        return 2
    given.out.write_text(as_toml(fitted), encoding="utf-8")
    print(as_markdown(fitted))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
