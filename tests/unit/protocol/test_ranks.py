"""Ranks of a gang, and the interface that they meet on."""

import pytest

from wattline_protocol.ids import TaskNo
from wattline_protocol.job.file import JobFileError, parse_job
from wattline_protocol.job.ranks import interface_on, place_of, rank_count
from wattline_protocol.job.spec import JobSpec, Launch, Resources

GANG = JobSpec("t", ("t.py",), resources=Resources(nodes=3, gpus_per_node=4))


def test_each_rank_has_one_place() -> None:
    spec = JobSpec("t", ("t.py",), resources=GANG.resources, launch=Launch("torchrun"))
    places = [place_of(spec, TaskNo(4), rank) for rank in range(rank_count(spec))]
    assert places == [(3 + rank // 4, rank % 4) for rank in range(12)]
    assert [place_of(GANG, TaskNo(0), rank) for rank in range(3)] == [
        (0, None),
        (1, None),
        (2, None),
    ]


def test_the_interface_may_be_a_label_of_the_node() -> None:
    assert interface_on("ib0", {"ib0": "x"}) == "ib0"
    assert interface_on("label:fabric", {"fabric": "ib1"}) == "ib1"
    assert interface_on("label:fabric", {}) == ""


@pytest.mark.parametrize(
    ("launch", "words"),
    [
        ('how = "torchrun"\nprocs_per_node = 1\ninterface = "ib 0"', 'an interface such as "ib0"'),
        ('interface = "ib0"', 'interface is for how = "torchrun"'),
    ],
)
def test_a_wrong_interface_is_refused(launch: str, words: str) -> None:
    text = f'name = "t"\ncommand = "t.py"\n[launch]\n{launch}\n'
    with pytest.raises(JobFileError, match=words):
        parse_job(text, "job.toml")
