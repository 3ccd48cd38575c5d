"""`python -m wattline_lab.fit.plant [TRACES] [--out FILE]`: fit the plant's constants."""

import argparse
import sys
from importlib.resources import files
from pathlib import Path

import msgspec

from wattline_lab.fit.plant.acme import mixes
from wattline_lab.fit.plant.requests import requests
from wattline_lab.fit.plant.tables import as_markdown
from wattline_lab.fit.plant.weather import weathers
from wattline_lab.fit.traces import VARIABLE, TracesMissing, traces_folder
from wattline_sim.facility.plant.constants import FITTED, Fitted

CONSTANTS = Path(str(files("wattline_sim.facility.plant").joinpath("constants.toml")))
FOLDERS = ("acme-2023-power-temp", "llm-requests", "weather-tmy")

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


def main(arguments: list[str]) -> int:
    """Exit status 2 where the traces are missing."""
    parser = argparse.ArgumentParser(prog="python -m wattline_lab.fit.plant", description=__doc__)
    parser.add_argument("traces", nargs="?", help=f"folder of traces; else ${VARIABLE}")
    parser.add_argument("--out", type=Path, default=CONSTANTS, help="default: the package's file")
    parser.add_argument("--table", action="store_true", help="print the loaded constants and stop")
    given = parser.parse_args(arguments)
    if given.table:
        print(as_markdown(FITTED))
        return 0
    try:
        traces = traces_folder(given.traces, FOLDERS)
    except TracesMissing as missing:
        print(f"fit.plant: {missing}", file=sys.stderr)
        return 2
    fitted = Fitted(
        requests=requests(traces), weather=tuple(weathers(traces)), mix=tuple(mixes(traces))
    )
    given.out.write_text(as_toml(fitted), encoding="utf-8")
    print(as_markdown(fitted))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
