"""`python -m wattline_lab.fit [TRACES] [--out FILE]`: fit all constants, with their residuals."""

import sys
from pathlib import Path

import msgspec

from wattline_lab.fit.command import Fit
from wattline_lab.fit.mlenergy import serving_draws
from wattline_lab.fit.mlperf import h200_curves, h200_node, pcie_node
from wattline_lab.fit.nearest import stand_ins
from wattline_lab.fit.tables import as_markdown
from wattline_lab.fit.zeus import zeus_curves
from wattline_scheduler.power.demand import models
from wattline_scheduler.power.demand.models.fitted import Fitted

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
            given = {key: value for key, value in entry.items() if value not in (None, "")}
            lines += [f"{k} = {msgspec.json.encode(v).decode()}" for k, v in given.items()]
            lines.append("")
    return HEADER + "\n".join(lines)


FIT = Fit(
    module="wattline_lab.fit",
    folders=("zeus-power-limit", "mlperf-power-1hz", "mlenergy-inference-power"),
    file=Path(models.__path__[0]) / "constants.toml",
    loaded=models.FITTED,
    fit=fit_all,
    as_toml=as_toml,
    as_markdown=as_markdown,
)

if __name__ == "__main__":
    sys.exit(FIT.run(sys.argv[1:], __doc__))
