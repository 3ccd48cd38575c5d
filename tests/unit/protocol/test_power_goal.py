"""`power.goal` beside other keys of a job."""

from typing import Any

import pytest

from wattline_protocol.job.file import JobFileError, job_from_options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "service", "name": "s"}, "a service gets the watts of its SLO: omit the goal"),
        ({"gpus": 0}, "power.goal is about GPUs, but gpus_per_node is 0"),
        ({"min_performance": 1.0}, "min_performance = 1.0 is never capped: give less, or omit"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_goal_of_efficiency_is_for_gpus_that_may_be_capped(
    options: dict[str, Any], said: str
) -> None:
    assert job_from_options(command="x", goal="efficiency").power.goal == "efficiency"
    with pytest.raises(JobFileError) as caught:
        job_from_options(command="x", goal="efficiency", **options)
    assert said in str(caught.value)
