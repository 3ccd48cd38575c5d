"""Replicas as a range, SLO and idle services in job files."""

import msgspec
import pytest

from wattline_protocol.job.change import changed, differences
from wattline_protocol.job.file import JobFileError, format_job, job_problems, parse_job
from wattline_protocol.job.spec import CountRange, JobSpec, ServiceSpec, Slo

HEAD = 'kind = "service"\nname = "echo"\ncommand = ["serve"]\n[service]\n'
SLO = 'slo = { p95 = "200ms", errors = 0.001 }\n'
FALLBACK = 'fallback = ["small"]\n'


def parsed(service: str) -> JobSpec:
    return parse_job(HEAD + service, "echo.toml")


def service_of(spec: JobSpec) -> ServiceSpec:
    assert spec.service is not None
    return spec.service


def test_a_scaled_service_is_read_and_written() -> None:
    spec = parsed(f'replicas = "2-8"\nidle_to_zero = "10m"\n{SLO}{FALLBACK}')
    service = service_of(spec)
    assert service.replicas == CountRange(2, 8)
    assert (service.slo, service.idle_to_zero_s) == (Slo(0.2, 0.001), 600.0)
    assert (spec.gang_count, spec.most_gangs) == (2, 8)
    assert parse_job(format_job(spec), "again") == spec
    assert not job_problems(spec)


def test_a_number_stays_a_number() -> None:
    for text in ("3", '"3"', '"3-3"'):
        service = service_of(parsed(f"replicas = {text}\n{SLO}"))
        assert (service.replicas, service.least, service.most) == (3, 3, 3)


def test_errors_have_a_default() -> None:
    assert service_of(parsed('slo = { p95 = "2s" }')).slo == Slo(2.0, 0.001)


@pytest.mark.parametrize(
    ("service", "said"),
    [
        (f'replicas = "8-2"\n{SLO}', '8 is above 2: the smaller first, as in "2-8"'),
        (f'replicas = "0-2"\n{SLO}', "for none while idle set idle_to_zero"),
        (f'replicas = "2-20000"\n{SLO}', "expected numbers from 1 to 10000"),
        (f'replicas = "2-"\n{SLO}', "expected a number from 1 to 10000, or a range"),
        (f"replicas = 0\n{SLO}", "expected a whole number from 1 to 10000"),
        ('replicas = "2-8"', "a range follows the load and an SLO: set service.slo"),
        ('slo = { p95 = "0s" }', "p95: must be from 1ms to 1h"),
        ('slo = { p95 = "soon" }', "p95: expected a duration"),
        ("slo = { errors = 0.1 }", 'expected { p95 = "200ms", errors = 0.001 }'),
        ('slo = { p95 = "1s", errors = 2 }', "errors: expected a number from 1e-06 to 0.5"),
        (f'idle_to_zero = "10m"\n{SLO}', "nothing answers until one is loaded: set"),
        (f'idle_to_zero = "10m"\n{FALLBACK}', "only a service with an SLO is scaled"),
        (f'idle_to_zero = "1s"\n{SLO}{FALLBACK}', "must be from 1m to 30d"),
    ],
)
def test_what_cannot_be_scaled_says_why(service: str, said: str) -> None:
    with pytest.raises(JobFileError) as refused:
        parsed(service)
    assert said in str(refused.value)


def test_a_range_of_another_client_is_checked() -> None:
    spec = JobSpec("echo", ("serve",), "service", service=ServiceSpec(CountRange(4, 2)))
    [problem] = job_problems(spec)
    assert "4 is above 2" in problem


def test_the_scale_changes_as_flags() -> None:
    before = parsed("replicas = 2\n")
    after = changed(before, {"replicas": "2-8", "slo": "p95=250ms,errors=0.01"})
    assert service_of(after).slo == Slo(0.25, 0.01)
    assert differences(before, after) == {
        "replicas": ("2", "2-8"),
        "slo": ("none", "p95=0.25s,errors=0.01"),
    }
    assert changed(after, {"replicas": 2, "slo": "none"}) == before


@pytest.mark.parametrize(
    "slo", [{"p95_s": 0.0}, {"p95_s": 7_200.0}, {"p95_s": 1.0, "errors": 0.0}], ids=str
)
def test_an_slo_out_of_bounds_is_refused_whatever_client_sends_it(slo: dict[str, float]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(slo, Slo)
