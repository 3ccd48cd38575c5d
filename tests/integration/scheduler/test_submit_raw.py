"""What any client could send, over the socket: refused in words, and nothing of it is on record."""

from pathlib import Path

from support.core.job_odds import ODD_JOBS, PLAIN
from support.core.sites import site
from support.programs.live_scheduler import SchedulerProcess, SiteDirectory, WireClient
from wattline_protocol.job.file import job_problems
from wattline_protocol.wire.client_messages import Denied, Submit, Submitted


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
