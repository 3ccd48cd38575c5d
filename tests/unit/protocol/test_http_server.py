"""`[service] http` of a job: its values, its forms, and the command of its orders."""

import re

import pytest

from wattline_protocol.job.change import asked_for
from wattline_protocol.job.file import JobFileError, format_job, job_from_options, parse_job
from wattline_protocol.job.http_server import bridge_command
from wattline_protocol.job.spec import HttpServer, ServiceSpec

SERVICE = 'name = "s"\nkind = "service"\n'


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("true", 'expected { health = "/health" }'),
        ('{ helth = "/" }', 'no key helth; did you mean "health"?'),
        ("{ port = 80 }", "keys are health, infer_path, methods, capacity"),
        ('{ health = "health" }', 'health: expected a path such as "/health"'),
        ('{ infer_path = "/a b" }', "infer_path: expected a path"),
        ('{ health = "/\\r\\nx: y" }', "health: expected a path"),
        ('{ methods = ["guess"] }', "methods: expected one of predict, chat"),
        ("{ methods = [] }", "methods: expected a list of 1 to 4 texts"),
        ('{ methods = "chat chat" }', "each method may occur once"),
        ("{ capacity = 0 }", "capacity: expected a whole number from 1 to 4096"),
        ("{ capacity = 4097 }", "capacity: expected a whole number from 1 to 4096"),
    ],
)
def test_a_wrong_value_is_refused_with_its_line_and_a_valid_one(value: str, said: str) -> None:
    with pytest.raises(JobFileError) as refused:
        parse_job(f'{SERVICE}command = ["x"]\nservice.http = {value}\n', "job.toml")
    [problem] = refused.value.problems
    assert problem.startswith("job.toml:4: ")
    assert said in problem


def test_only_services_are_http_servers() -> None:
    with pytest.raises(JobFileError, match=re.escape('[service] is for kind = "service"')):
        parse_job('command = ["x"]\nservice.http = { }\n', "job.toml")


@pytest.mark.parametrize(
    "command",
    [
        ["python", "-m", "wattline_runtime.serve", "--model", "a:B"],
        ["python3", "-u", "-m", "wattline_runtime.serve.bridge", "--", "vllm"],
        ["wattline-bridge", "--", "vllm"],
    ],
)
def test_no_bridge_before_a_worker(command: list[str]) -> None:
    with pytest.raises(JobFileError, match=re.escape("a worker already: omit service.http")):
        job_from_options(name="s", command=command, kind="service", http="health=/health")


def test_as_a_flag_and_in_a_file_it_is_the_same() -> None:
    flag = "health=/up,methods=chat embed,capacity=8"
    spec = job_from_options(name="s", command=["x"], kind="service", http=flag)
    server = HttpServer(health="/up", methods=("chat", "embed"), capacity=8)
    assert spec.service == ServiceSpec(http=server)
    written = format_job(spec)
    assert 'http = { health = "/up", methods = ["chat", "embed"], capacity = 8 }' in written
    assert parse_job(written, "job.toml") == spec
    assert asked_for(spec)["service"]["http"] == flag


def test_an_order_names_the_bridge_and_each_option() -> None:
    assert bridge_command(HttpServer(), ("vllm", "serve")) == (
        "wattline-bridge",
        "--health=/health",
        "--infer-path=/infer",
        "--methods=chat,complete",
        "--capacity=64",
        *("--", "vllm", "serve"),
    )
