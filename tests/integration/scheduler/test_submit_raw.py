"""What any client could send, over the socket: refused in words, and nothing of it is on record."""

from pathlib import Path

from support.job_odds import ODD_JOBS, PLAIN
from support.live_scheduler import SchedulerProcess, SiteDirectory, WireClient
from support.sites import site
from wattline_protocol.jobfile import job_problems
from wattline_protocol.requests import Denied, Submit, Submitted


def test_what_a_client_would_refuse_is_refused_over_the_socket(tmp_path: Path) -> None:
    directory = SiteDirectory(tmp_path / "site", site().rack("a", 1).build())
    with (
        SchedulerProcess(directory.path, tmp_path / "state").ready(),
        WireClient(directory.bundle("ada")).welcomed() as client,
    ):
        for name, spec in ODD_JOBS.items():
            assert job_problems(spec), name
            answer = client.ask(Submit(spec, name))
            assert isinstance(answer, Denied), name
            assert answer.kind == "bad_request", (name, answer)
            assert answer.reason.isprintable(), name
        assert client.ask(Submit(PLAIN, "plain")) == Submitted(1)  # type: ignore[arg-type]  # a literal
