"""The plant of a simulated facility: GPUs, nodes, feeds, cooling, weather and what jobs demand."""

from wattline_sim.facility.plant.constants import weather_of
from wattline_sim.facility.plant.layout import Feed, Layout, LayoutError, NodePlace, Zone
from wattline_sim.facility.plant.plant import SUBSTEP_S, Plant
from wattline_sim.facility.plant.population import (
    POPULATIONS,
    Arrival,
    JobShape,
    Population,
    all_hot,
    burst,
    inference_row,
    mixed,
)
from wattline_sim.facility.plant.servers import host_of
from wattline_sim.facility.plant.weather import Weather
from wattline_sim.facility.plant.workload import Service, State, Workload, WorkloadError

__all__ = [
    "POPULATIONS",
    "SUBSTEP_S",
    "Arrival",
    "Feed",
    "JobShape",
    "Layout",
    "LayoutError",
    "NodePlace",
    "Plant",
    "Population",
    "Service",
    "State",
    "Weather",
    "Workload",
    "WorkloadError",
    "Zone",
    "all_hot",
    "burst",
    "host_of",
    "inference_row",
    "mixed",
    "weather_of",
]
