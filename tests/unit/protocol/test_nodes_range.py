"""A range of nodes in a job file: what it means, and what is refused with which words."""

import pytest

from wattline_protocol.job.file import JobFileError, format_job, parse_job
from wattline_protocol.job.spec import CountRange

COMMAND = 'command = ["x"]\n'
SERVICE = 'name = "s"\nkind = "service"\n'
TORCHRUN = 'resources.gpus_per_node = 3\nlaunch.how = "torchrun"\n'


def test_a_range_is_read_and_written_as_text() -> None:
    job = parse_job(f'{COMMAND}resources.nodes = "2-4"', "job.toml")
    assert job.resources.nodes == CountRange(2, 4)
    assert (job.resources.least_nodes, job.resources.most_nodes, job.gang_size) == (2, 4, 4)
    assert 'nodes = "2-4"' in format_job(job)
    assert parse_job(f'{COMMAND}resources.nodes = "3-3"', "job.toml").resources.nodes == 3
    assert parse_job(COMMAND, "job.toml", nodes="2-4").resources == job.resources


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('resources.nodes = "4-2"', '4 is above 2: the smaller first, as in "2-4"'),
        ('resources.nodes = "0-3"', "expected numbers from 1 to 4096"),
        ('resources.nodes = "2-"', 'or a range as in "2-8"'),
        ('resources.nodes = "2-4"\narray = "0-9"', "a range is for a job of one gang"),
        (f'{SERVICE}resources.nodes = "1-2"', "a replica of a service runs on one node"),
        (
            'resources.nodes = "2-4"\nlaunch.global_batch_size = 256',
            "256 samples do not divide among 3 processes",
        ),
        (
            f'{TORCHRUN}resources.nodes = "1-2"\nlaunch.global_batch_size = 3',
            "3 samples do not divide among 6 processes",
        ),
    ],
)
def test_what_is_refused(lines: str, said: str) -> None:
    with pytest.raises(JobFileError) as refused:
        parse_job(COMMAND + lines, "job.toml")
    (problem,) = refused.value.problems
    assert said in problem
