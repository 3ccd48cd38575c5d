"""What a job with an output needs of its nodes, beside the data that it reads."""

from wattline_protocol.ids import UserName
from wattline_protocol.job.spec import JobSpec

OUTPUT_OF = "room for another output of "
"""Begins the need, among the names of what nodes have; no data set is called so."""


def output_need(owner: UserName, spec: JobSpec) -> tuple[str, ...]:
    """Jobs of one user need the same; none without an output."""
    return (f"{OUTPUT_OF}{owner}",) if spec.data.has_output else ()
