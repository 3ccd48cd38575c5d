"""The plant of a simulated facility: GPUs, nodes, feeds, cooling, weather and what jobs demand."""

from wattline_sim.facility.plant.layout import Feed, Layout, LayoutError, NodePlace, Zone
from wattline_sim.facility.plant.plant import SUBSTEP_S, Plant
from wattline_sim.facility.plant.weather import Weather
from wattline_sim.facility.plant.workload import Service, State, Workload, WorkloadError

__all__ = [
    "SUBSTEP_S",
    "Feed",
    "Layout",
    "LayoutError",
    "NodePlace",
    "Plant",
    "Service",
    "State",
    "Weather",
    "Workload",
    "WorkloadError",
    "Zone",
]
