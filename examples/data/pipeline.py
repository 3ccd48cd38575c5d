"""Three steps of a pipeline, each a job: python pipeline.py raw|features|model

What a step writes into $WATTLINE_OUTPUT becomes the next version of the set that its job makes. A
step that reads the same versions writes the same bytes: it takes no time, no name of a host and no
number without a seed into them.
"""

import csv
import json
import os
import random
import statistics
import sys
from pathlib import Path

from wattline.task import data_path

HOUSES = 400

output = Path(os.environ["WATTLINE_OUTPUT"])


def read(name: str) -> list[tuple[float, float]]:
    """Areas and prices of a version that the job reads."""
    with (data_path(name) / "houses.csv").open(newline="") as file:
        return [(float(row["area"]), float(row["price"])) for row in csv.DictReader(file)]


def write(rows: list[tuple[float, float]]) -> None:
    """As files of the version that the job makes."""
    with (output / "houses.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["area", "price"])
        writer.writerows((f"{area:.6f}", f"{price:.6f}") for area, price in rows)


def raw() -> None:
    """Houses as they were surveyed."""
    rng = random.Random(os.environ.get("SEED", "1"))
    areas = [rng.uniform(40, 200) for _ in range(HOUSES)]
    write([(area, 2_500 * area + rng.gauss(0, 20_000)) for area in areas])


def features() -> None:
    """The areas with a mean of 0 and a deviation of 1."""
    houses = read("raw")
    areas = [area for area, _ in houses]
    mean, deviation = statistics.fmean(areas), statistics.pstdev(areas)
    write([((area - mean) / deviation, price) for area, price in houses])


def model() -> None:
    """A line through them."""
    areas, prices = zip(*read("features"), strict=True)
    line = statistics.linear_regression(areas, prices)
    found = {"slope": round(line.slope, 6), "intercept": round(line.intercept, 6)}
    (output / "line.json").write_text(json.dumps(found))


{"raw": raw, "features": features, "model": model}[sys.argv[1]]()
