"""Jobs of services: replicas, and their names."""

import pytest

from wattline_protocol.job.file import (
    JobFileError,
    format_job,
    job_from_options,
    job_problems,
    parse_job,
)
from wattline_protocol.job.spec import ServiceSpec


def test_a_service_has_one_replica_unless_it_says_more() -> None:
    text = 'name = "serve"\nkind = "service"\ncommand = ["serve"]\n'
    assert parse_job(text, "x").service == ServiceSpec(1)
    assert parse_job(f"{text}service.replicas = 3", "x").gang_count == 3


def test_a_service_is_not_named_after_its_program() -> None:
    """Clients ask for it by its name, and the next one of the program's name would replace it."""
    text = 'a service needs a name, by which clients ask for it, for example name = "echo"'
    with pytest.raises(JobFileError, match=text):
        parse_job('command = ["python3", "serve.py"]\nkind = "service"', "x")
    with pytest.raises(JobFileError, match="as an option --name echo"):
        job_from_options(command=["python3", "serve.py"], kind="service")
    named = job_from_options(command=["serve"], name="serve", kind="service")
    assert parse_job(format_job(named), "x") == named
    assert job_problems(named) == ()
