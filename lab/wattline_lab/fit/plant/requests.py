"""Lengths and burstiness of conversation requests: the Azure LLM inference trace of 2023."""

from pathlib import Path

import numpy as np

from wattline_lab.fit.traces import rows
from wattline_sim.facility.plant.constants import RequestFit

SOURCE = "Azure LLM inference trace 2023, conversation (CC-BY-4.0; Splitwise, ISCA 2024)"
WINDOW_S = 60.0


def requests(traces: Path) -> RequestFit:
    """Log-normal lengths; the minute-to-minute spread of the rate beyond a Poisson process."""
    table = rows(traces / "llm-requests" / "azure_2023_conv.csv.gz")
    arrival_s = np.array([float(r["arrival_s"]) for r in table])
    context = np.array([float(r["context_tokens"]) for r in table])
    generated = np.array([float(r["generated_tokens"]) for r in table])
    count = np.histogram(arrival_s, np.arange(0.0, arrival_s[-1], WINDOW_S))[0]
    excess = max(0.0, float(count.var() - count.mean()))
    return RequestFit(
        context_tokens_mean=round(float(context.mean()), 1),
        context_spread=round(float(np.log(np.maximum(context, 1.0)).std()), 3),
        generated_tokens_mean=round(float(generated.mean()), 1),
        burst=round(float(np.sqrt(excess) / count.mean()), 3),
        source=SOURCE,
    )
