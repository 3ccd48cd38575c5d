"""`python -m wattline_lab.fit.plant [TRACES] [--out FILE]`: fit the plant's constants."""

import sys
from importlib.resources import files
from pathlib import Path

import msgspec

from wattline_lab.fit.command import Fit
from wattline_lab.fit.plant.acme import mixes
from wattline_lab.fit.plant.requests import requests
from wattline_lab.fit.plant.tables import as_markdown
from wattline_lab.fit.plant.weather import weathers
from wattline_sim.facility.plant.constants import FITTED, Fitted

HEADER = """\
# Written by `make fit`; do not edit. Request lengths and burstiness (requests), outside
# temperature as harmonics (weather), kinds of work a fleet consists of and the GPU power quantiles
# that follow against the published ones (mix).

"""


def as_toml(fitted: Fitted) -> str:
    """The text of constants.toml."""
    built = msgspec.to_builtins(fitted)
    lines = ["[requests]", *_pairs(built["requests"])]
    for table in ("weather", "mix"):
        for entry in built[table]:
            lines += ["", f"[[{table}]]", *_pairs(entry)]
    return HEADER + "\n".join(lines) + "\n"


def _pairs(table: dict[str, object]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_value(v)}" for k, v in value.items()) + " }"
    return msgspec.json.encode(value).decode()


def fit_all(traces: Path) -> Fitted:
    """Everything that the plant loads."""
    return Fitted(
        requests=requests(traces), weather=tuple(weathers(traces)), mix=tuple(mixes(traces))
    )


FIT = Fit(
    module="wattline_lab.fit.plant",
    folders=("acme-2023-power-temp", "llm-requests", "weather-tmy"),
    file=Path(str(files("wattline_sim.facility.plant").joinpath("constants.toml"))),
    loaded=FITTED,
    fit=fit_all,
    as_toml=as_toml,
    as_markdown=as_markdown,
)

if __name__ == "__main__":
    sys.exit(FIT.run(sys.argv[1:], __doc__))
