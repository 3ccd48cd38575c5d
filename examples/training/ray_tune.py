"""A sweep of Ray Tune over the nodes of a job; the best point is its metric.

    wattline submit ray_tune.toml       # in this directory, with ray[tune] installed
    python ray_tune.py                  # without Wattline

Each trial fits a line by gradient descent with another rate. It takes one CPU of the cluster, so
that as many trials run at a time as the job has.
"""

import argparse
import random
from typing import Any

from ray import tune

from wattline import task

STEPS, POINTS = 50, 64


def fit(config: dict[str, Any]) -> None:
    """One trial: mean squared error after each step."""
    draw = random.Random(17)
    points = [(x, 3 * x - 1 + draw.gauss(0, 0.01)) for x in (draw.random() for _ in range(POINTS))]
    slope = offset = 0.0
    for _ in range(STEPS):
        errors = [(slope * x + offset - y, x) for x, y in points]
        slope -= config["rate"] * 2 * sum(error * x for error, x in errors) / POINTS
        offset -= config["rate"] * 2 * sum(error for error, _ in errors) / POINTS
    tune.report({"loss": sum(error * error for error, _ in errors) / POINTS})


def main() -> None:
    """Sweep the rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=8)
    options = parser.parse_args()
    tuner = tune.Tuner(
        tune.with_resources(fit, {"cpu": 1}),
        param_space={"rate": tune.grid_search([0.05 * (n + 1) for n in range(options.trials)])},
        run_config=tune.RunConfig(storage_path=str(task.checkpoint_dir().resolve())),
    )
    best = tuner.fit().get_best_result(metric="loss", mode="min")
    task.metric(loss=best.metrics["loss"], rate=best.config["rate"])
    print(f"best rate {best.config['rate']:.2f}, loss {best.metrics['loss']:.6f}")


if __name__ == "__main__":
    main()
