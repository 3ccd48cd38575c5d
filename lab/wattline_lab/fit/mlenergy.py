"""What a GPU draws uncapped while serving: the ML.ENERGY benchmark."""

from pathlib import Path

import numpy as np

from wattline_lab.fit.traces import Row, rows
from wattline_scheduler.power.demand.models.fitted import Draw

TDP_W = {"H100": 700.0, "B200": 1000.0}
SMALL_BATCH = 16
LARGE_BATCH = 128
SOURCE = "ML.ENERGY benchmark v3 (Chung et al., NeurIPS D&B 2025)"


def serving_draws(traces: Path) -> list[Draw]:
    """Shares of TDP by kind of work and GPU."""
    folder = traces / "mlenergy-inference-power"
    llm = rows(folder / "llm_configs.csv.gz")
    diffusion = rows(folder / "diffusion_configs.csv.gz")
    draws: list[Draw] = []
    for gpu, tdp_w in TDP_W.items():
        mine = [r for r in llm if r["gpu_model"] == gpu]
        small = [r for r in mine if int(r["max_num_seqs"]) <= SMALL_BATCH]
        large = [r for r in mine if int(r["max_num_seqs"]) >= LARGE_BATCH]
        draws.append(_draw(gpu, "llm_small_batch", small, tdp_w))
        draws.append(_draw(gpu, "llm_large_batch", large, tdp_w))
        for task in ("text-to-image", "text-to-video"):
            of_task = [r for r in diffusion if (r["gpu_model"], r["task"]) == (gpu, task)]
            draws.append(_draw(gpu, task.replace("-", "_"), of_task, tdp_w))
    return draws


def _draw(gpu: str, work: str, configurations: list[Row], tdp_w: float) -> Draw:
    watts = [float(r["avg_power_watts"]) / int(r["num_gpus"]) for r in configurations]
    p05, p50, p95 = np.percentile(np.array(watts) / tdp_w, [5, 50, 95])
    return Draw(
        gpu=gpu.lower(),
        work=work,
        p05=round(float(p05), 3),
        p50=round(float(p50), 3),
        p95=round(float(p95), 3),
        configurations=len(watts),
        source=SOURCE,
    )
