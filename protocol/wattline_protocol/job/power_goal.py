"""What contradicts `power.goal = "efficiency"` in a job."""

from wattline_protocol.job.spec import JobSpec


def goal_problems(job: JobSpec) -> list[tuple[str, bool, str]]:
    """Keys that are valid alone and invalid with that goal."""
    is_efficient = job.power.goal == "efficiency"
    return [
        (
            "power.goal",
            is_efficient and job.kind == "service",
            "a service gets the watts of its SLO: omit the goal, and set service.slo",
        ),
        (
            "power.goal",
            is_efficient and job.resources.gpus_per_node == 0,
            "power.goal is about GPUs, but gpus_per_node is 0",
        ),
        (
            "power.goal",
            is_efficient and job.power.min_performance >= 1,
            "min_performance = 1.0 is never capped: give less, or omit the goal",
        ),
    ]
