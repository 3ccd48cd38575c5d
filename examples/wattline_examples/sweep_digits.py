"""One point of a hyper-parameter sweep on scikit-learn's digits: the example of an array job.

    array = "0-15"
    command = ["python", "-m", "wattline_examples.sweep_digits"]

The array index picks the point; each point trains a small network for some seconds of one core
and reports its accuracy. Deliberately without torch, so that starting costs little.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from wattline import task

HIDDEN = (96, 112, 128, 160)
LEARNING_RATES = (3e-4, 1e-3)
PENALTIES = (1e-5, 1e-2)
HELD_OUT_EVERY = 10


class Point(NamedTuple):
    """One combination of hyper-parameters."""

    hidden: int
    learning_rate: float
    penalty: float
    seed: int


def point(index: int) -> Point:
    """The combination with this index; after the last the same ones follow with another seed."""
    seed, rest = divmod(index, len(HIDDEN) * len(LEARNING_RATES) * len(PENALTIES))
    rest, penalty = divmod(rest, len(PENALTIES))
    hidden, rate = divmod(rest, len(LEARNING_RATES))
    return Point(HIDDEN[hidden], LEARNING_RATES[rate], PENALTIES[penalty], seed)


def evaluate(at: Point, epochs: int) -> Iterator[float]:
    """Train epoch by epoch; yields the accuracy on the held-out tenth after each."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read once, when numpy is imported
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    images, labels = load_digits(return_X_y=True)
    images = images / images.max()
    held = np.arange(len(labels)) % HELD_OUT_EVERY == 0
    network: Any = MLPClassifier(
        hidden_layer_sizes=(at.hidden, at.hidden),
        learning_rate_init=at.learning_rate,
        alpha=at.penalty,
        batch_size=32,
        random_state=at.seed,
    )
    for _ in range(epochs):
        network.partial_fit(images[~held], labels[~held], classes=np.arange(10))
        yield float(network.score(images[held], labels[held]))


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, also when stopped before the last epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    index = task.identity().array_index
    parser.add_argument("--index", type=int, default=0 if index is None else index)
    parser.add_argument("--epochs", type=int, default=80)
    options = parser.parse_args(argv)
    at = point(options.index)
    print(f"point {options.index}: {at}", flush=True)
    accuracy = 0.0
    with task.stoppable():
        for epoch, accuracy in enumerate(evaluate(at, options.epochs), start=1):
            task.progress(epoch / options.epochs, accuracy=accuracy, epoch=epoch)
            task.safe_point()
    task.metric(hidden=at.hidden, learning_rate=at.learning_rate, penalty=at.penalty)
    print(f"accuracy {accuracy:.4f}", flush=True)
    return 0


if __name__ == "__main__":
    warnings.simplefilter("error")
    sys.exit(main())
