"""What the demo of a burst runs: a host of four H100s, a service of one or two replicas, training.

Numbers. An image takes 20 ms at the highest clock, so that a replica does 50 a second, and about 33
at its lowest cap of 200 W. 15 a second are served at that cap; 45 are more than it does, and than
a replica is to do for long, so that they raise the cap first and start the second replica then. Its
GPUs are those of the training job, which has low priority.
"""

import sys
from pathlib import Path

from wattline.demo.layout import one_host
from wattline.demo.work import write_job

TRAINING, SERVICE = "training", "answers"
NODE = "a1"

PLAN = one_host(NODE, more='[timing]\nprotected_run = "0s"\n')

SLO_S = 1.0
IMAGE_MS = 20
FIRST, FIRST_RATE = 20, 5.0
"""Requests by which connections are opened and the model gets warm, and how many a second."""
PEAK_RATE, PEAK_S = 36.0, 15.0
"""A replica counts as able to do little more than it was seen to do, so it has a peak first."""
STEADY_RATE, BURST_RATE = 15.0, 45.0
STEADY_CAP_W = 225.0
"""Caps are below this before the step: they fall to what the steady load needs some seconds after
that is known, and until then the step would find them high enough."""

CAPS_RAISED_S, REPLICA_STARTED_S = 2.0, 10.0
"""Bars: from the step of the load."""
MISSES_MAX = 0.05
"""Share of late or failed requests that the SLO, a p95, allows before and after the scaling."""


def write_training(folder: Path) -> Path:
    """Training on two GPUs, without an end. It rests, for the host's processors are few."""
    options = {"epochs": 1_000_000, "width": 8, "blocks": 1, "batch-size": 256, "rest-s": 0.3}
    words = [word for key, value in options.items() for word in (f"--{key}", f"{value}")]
    return write_job(
        folder / "training.toml",
        TRAINING,
        "training",
        (sys.executable, "-m", "wattline_examples.train_digits", *words),
        """priority = "low"
account = "vision"

[resources]
gpus_per_node = 2

[recovery]
retries = 2
checkpoint_every = "1s"
grace = "5s"

[env]
WATTLINE_SIM_PROFILE = "training-hot"
OMP_NUM_THREADS = "1"
""",
    )


def write_service(folder: Path, checkpoints: Path) -> Path:
    """A replica has one GPU pair, and serves the newest checkpoint."""
    model = "wattline_examples.serve_clocked:ClockedDigits"
    settings = {"checkpoints": checkpoints, "image_ms": IMAGE_MS}
    arguments = [word for key, value in settings.items() for word in ("--arg", f"{key}={value}")]
    return write_job(
        folder / "service.toml",
        SERVICE,
        "service",
        (sys.executable, "-m", "wattline_runtime.serve", "--model", model, *arguments),
        f"""priority = "high"
account = "web"

[resources]
gpus_per_node = 2

[service]
replicas = "1-2"
slo = {{ p95 = "{SLO_S:g}s" }}

[recovery]
grace = "5s"

[env]
WATTLINE_SIM_PROFILE = "decode"
OMP_NUM_THREADS = "1"
""",
    )
