"""A gang on uneven GPUs, on the production cores: its straggler is named, and gains by watts."""

from wattline_sim.straggler.run import side

MINUTES = 3.0


def nothing(_: float) -> None:
    """Progress of the run."""


def test_the_straggler_is_named_in_time_and_its_gang_is_5_percent_faster_at_equal_watts() -> None:
    even = side(2, MINUTES, reports_steps=False, progress=nothing)
    moved = side(2, MINUTES, reports_steps=True, progress=nothing)
    assert f"rank {moved.straggler} on " in moved.event
    assert moved.event.endswith("its power cap reduces the clocks")
    assert moved.named_at_step - moved.slow_from_step <= 20
    assert moved.steps_per_s >= 1.05 * even.steps_per_s
    assert abs(moved.gpu_w / even.gpu_w - 1.0) <= 0.01
    assert (even.event, moved.seconds_over_feed) == ("", 0.0)
