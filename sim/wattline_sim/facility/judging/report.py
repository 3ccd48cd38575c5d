"""What a run reports, as JSON: the keys are a promise to scripts."""

import msgspec


class FacilityReport(msgspec.Struct, frozen=True):
    """One run of one scenario under one policy."""

    scenario: str
    policy: str
    nodes: int
    """Of the fleet; a policy may leave some off."""
    hours: float
    seed: int
    simulated: bool
    replayed: bool
    """With real weather and request rates, not their fitted forms."""
    gpus: int
    """In service."""
    budget_kw: float
    """Of the top power domain."""
    throughput: float
    """Sum of performance x GPU-hours over the measured time."""
    throughput_vs_static: float | None
    """Ratio to the same fleet, jobs and seed with every GPU booked at TDP; None: not run."""
    slowdown: dict[str, dict[str, float]]
    """By priority: p50 and p99 over all job-windows of 60 s."""
    seconds_over_budget: float
    """1 s averages of the true draw above a budget, not counting `seconds_over_lowered_budget`."""
    seconds_over_lowered_budget: float
    """While a budget that was lowered was being enforced."""
    max_overshoot_pct: float
    trips: int
    hw_throttle_events: int
    sw_throttle_events: int
    """Times a GPU's own software lowered its clocks for heat."""
    max_gpu_temp_c: float
    max_inlet_c: float
    stranded_pct: float
    """Share of the budget that was not drawn while work waited or was capped."""
    shed_to_enforced_s: dict[str, float]
    """p50 and p99 over all lowered budgets; empty: none was lowered."""
    preempted: int
    """Gangs paused or sent back to the queue because watts or cooling did not suffice."""
    violations: tuple[str, ...]
    speed: float
    """Simulated seconds per processor second."""
    profile: dict[str, float]
    """Share of the processor time by part."""
