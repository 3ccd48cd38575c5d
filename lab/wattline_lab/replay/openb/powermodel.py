"""Watts by GPU model and of a processor, as the power study lists them."""

import csv
from dataclasses import dataclass
from pathlib import Path

from wattline_lab.replay.openb.lists import ListUnreadable

CPU_MODEL = "Xeon-E5-2682v4"
"""The study puts it into every node."""


@dataclass(frozen=True, slots=True)
class PowerModel:
    """Watts by GPU model, and of one processor."""

    gpu_idle_w: dict[str, float]
    gpu_full_w: dict[str, float]
    cpu_idle_w: float
    cpu_full_w: float
    cores_per_cpu: int


def read_power_model(path: Path) -> PowerModel:
    """The table `kind, model, idle_w, full_w, cores_per_cpu`. Raises ListUnreadable."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        gpus = [row for row in rows if row["kind"] == "gpu"]
        cpu = next(row for row in rows if (row["kind"], row["model"]) == ("cpu", CPU_MODEL))
        return PowerModel(
            {row["model"]: float(row["idle_w"]) for row in gpus},
            {row["model"]: float(row["full_w"]) for row in gpus},
            float(cpu["idle_w"]),
            float(cpu["full_w"]),
            int(cpu["cores_per_cpu"]),
        )
    except StopIteration:
        raise ListUnreadable(f"{path}: no processor {CPU_MODEL}") from None
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise ListUnreadable(f"{path}: {error!r}") from error
