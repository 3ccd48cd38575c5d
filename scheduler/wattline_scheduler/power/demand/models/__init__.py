"""Models of cap slowdown and node draw: curves and constants fitted to public measurements."""

from wattline_scheduler.power.demand.models.curves import Curve, performance_at, share_for
from wattline_scheduler.power.demand.models.fitted import Fitted, NodeModel, Phase, parse_constants
from wattline_scheduler.power.demand.models.library import (
    FITTED,
    HOT_SHARE_PERMILLE,
    curve,
    gpu_class,
    node_model,
    node_power,
    training_phase,
)

__all__ = [
    "FITTED",
    "HOT_SHARE_PERMILLE",
    "Curve",
    "Fitted",
    "NodeModel",
    "Phase",
    "curve",
    "gpu_class",
    "node_model",
    "node_power",
    "parse_constants",
    "performance_at",
    "share_for",
    "training_phase",
]
