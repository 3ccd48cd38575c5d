"""What the demo of a lifecycle runs: a host of four H100s, two versions of a data set, two models.

The second version has drifted: a scanner has inverted two columns of the images. Both models are
trained on the first version, the second one for longer, so that a canary has something to show.
"""

import sys
from pathlib import Path

from wattline.demo.layout import one_host
from wattline.demo.work import write_job

DATA, MODEL, SERVICE = "digits", "digits-net", "digits"
NODE = "a1"

PLAN = one_host(NODE)

EPOCHS = {"quick": 1, "careful": 6}
"""Of the trainings, whose models are v1 and v2."""
INVERTED = 2
"""Columns of pixels, the first of eight."""
RATE_PER_S = 20.0
CANARY = "30%"
FEWEST_REQUESTS = 100
"""Sent while the revision is on trial and replaces the other."""
MOST_S = 180.0


def write_data(folder: Path, inverted: int) -> Path:
    """A folder with the digits, in which so many columns of pixels are inverted."""
    import numpy as np

    from wattline_examples.digits_net import BRIGHTEST, DIGITS_FILE, SIDE, all_digits

    images, labels = all_digits()
    is_inverted = np.arange(images.shape[1]) % SIDE < inverted
    folder.mkdir()
    np.savez(
        folder / DIGITS_FILE,
        images=np.where(is_inverted, BRIGHTEST - images, images),
        labels=labels,
    )
    return folder


def write_training(folder: Path, name: str, version: str, epochs: int) -> Path:
    """Training on one GPU, which refuses data that broke a rule."""
    options = ("--data", DATA, "--epochs", f"{epochs}", "--width", "16", "--blocks", "2")
    return write_job(
        folder / f"{name}.toml",
        name,
        "training",
        (sys.executable, "-m", "wattline_examples.train_digits", *options),
        f"""account = "vision"

[resources]
gpus_per_node = 1

[data]
datasets = ["{version}"]
check = "strict"

[recovery]
grace = "5s"

[env]
WATTLINE_SIM_PROFILE = "training-hot"
OMP_NUM_THREADS = "1"
""",
    )


def write_service(folder: Path, version: str) -> Path:
    """One replica on one GPU, which serves a version of the model."""
    model = ("--model", "wattline_examples.serve_digits:Digits", "--arg", f"model={MODEL}")
    return write_job(
        folder / f"service-{version.rpartition('@')[2]}.toml",
        SERVICE,
        "service",
        (sys.executable, "-m", "wattline_runtime.serve", *model),
        f"""account = "web"

[resources]
gpus_per_node = 1

[service]
replicas = 1

[data]
datasets = ["{version}"]

[recovery]
grace = "5s"

[env]
WATTLINE_SIM_PROFILE = "decode"
OMP_NUM_THREADS = "1"
""",
    )
