"""Maps a GPU's driver name and its work to the fitted constants."""

from functools import lru_cache
from importlib.resources import files
from typing import Final

import numpy as np
import numpy.typing as npt

from wattline_scheduler.power.demand.models.curves import Curve, Floats
from wattline_scheduler.power.demand.models.fitted import Fitted, NodeModel, Phase, parse_constants

FITTED: Final[Fitted] = parse_constants(
    files(__package__).joinpath("constants.toml").read_text(encoding="utf-8")
)

HOT_SHARE_PERMILLE = 800
"""A job whose uncapped draw reaches this share of the GPU's maximum is a hot one."""

MAX_NAMES = 256
"""Cached GPU names; a site has a handful."""

UNKNOWN_CLASS = "h200"
"""A GPU that no rule below names is probably newer than the rules. This class also loses most just
below its demand, so an unknown GPU is capped too little rather than too much."""

_CLASS_OF = (
    ("RTX 6000 ADA", "a40"),
    ("RTX A", "a40"),
    ("RTX", "rtx6000"),
    ("T4", "rtx6000"),
    ("A40", "a40"),
    ("A10", "a40"),
    ("A30", "a40"),
    ("A16", "a40"),
    ("L40", "a40"),
    ("L4", "a40"),
    ("V100", "v100"),
    ("P100", "v100"),
    ("H100", "h200"),
    ("H200", "h200"),
    ("H20", "h200"),
    ("GH200", "h200"),
    ("H800", "h200"),
    ("B200", "b200"),
    ("B300", "b200"),
    ("GB", "b200"),
)


def gpu_class(gpu_name: str) -> str:
    """The class of constants for a GPU as the driver names it, e.g. "NVIDIA H100 80GB HBM3"."""
    name = gpu_name.upper()
    if "A100" in name or "A800" in name:
        return "a100"
    return next((known for part, known in _CLASS_OF if part in name), UNKNOWN_CLASS)


@lru_cache(maxsize=MAX_NAMES)
def curve(gpu_name: str, phase: Phase) -> Curve:
    """Performance curve of this GPU in this phase."""
    return FITTED.curve_of(gpu_class(gpu_name), phase).curve


def training_phase(demand_mw: int, cap_max_mw: int) -> Phase:
    """Hot or light, by the uncapped draw of the job and the maximum cap of the GPU."""
    is_hot = demand_mw * 1000 >= cap_max_mw * HOT_SHARE_PERMILLE
    return "training_hot" if is_hot else "training_light"


@lru_cache(maxsize=MAX_NAMES)
def node_model(gpu_name: str) -> NodeModel:
    """The server model for GPUs of this class; PCIe cards share one, the others use the H200's."""
    of = {model.gpu: model for model in FITTED.node}
    name = gpu_class(gpu_name)
    return of.get(name) or of["pcie" if name in ("a40", "rtx6000", "v100") else "h200"]


def node_power(model: NodeModel, gpus_w: npt.ArrayLike, cpu_busy: npt.ArrayLike = 1.0) -> Floats:
    """Wall watts of nodes whose GPUs draw `gpus_w` together; `cpu_busy` 0..1 of the CPU part."""
    inner_w = model.base_w + model.cpu_w * np.asarray(cpu_busy, float) + np.asarray(gpus_w, float)
    return np.asarray(inner_w / model.psu_efficiency, dtype=np.float64)
