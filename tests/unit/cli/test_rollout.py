"""`wattline rollout NAME …`: what is sent for which words, and what is shown."""

import io
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from rich.console import Console

from wattline.acts.rollout import rollout
from wattline.client import Client
from wattline.failures import ActFailed
from wattline.show.rollout import lines
from wattline.show.rollout import rollout as shown
from wattline_protocol.ids import JobId, UnixTime
from wattline_protocol.job.spec import JobSpec
from wattline_protocol.wire.client_messages import Submitted
from wattline_protocol.wire.rollouts import RevisionView, RolloutOptions, RolloutView

VIEW = RolloutView(
    service="echo",
    phase="checking",
    text="checks its answers: 6 requests in 4 s",
    is_paused=False,
    new=RevisionView(JobId(2), 2, 1, 1, 8, 1, None),
    old=RevisionView(JobId(1), 2, 2, 2, 152, 0, 11.3),
    canary=0.0,
    shadow=0.0,
    compare="equal",
    equal=0,
    different=0,
    requester="ada",
    since_unix_s=UnixTime(0.0),
)
OPTIONS: dict[str, Any] = {"canary": None, "shadow": None, "compare": None, "in_place": False}


class FakeClient:
    """Notes what is requested."""

    def __init__(self) -> None:
        self.submitted: list[tuple[JobSpec, RolloutOptions]] = []
        self.steered: list[tuple[str, str]] = []

    def submit_warned(self, spec: JobSpec, *, rollout: RolloutOptions) -> Submitted:
        self.submitted.append((spec, rollout))
        return Submitted(JobId(2), "it is not measured yet")

    def steer_rollout(self, service: str, action: str) -> str:
        self.steered.append((service, action))
        return "done"

    def rollout(self, service: str) -> RolloutView:
        return msgspec.structs.replace(VIEW, service=service)


def run(what: str | None, **options: Any) -> FakeClient:
    client = FakeClient()
    view = rollout(cast("Client", client), name="echo", what=what, **OPTIONS | options)
    assert view.service == "echo"
    return client


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "next.toml"
    path.write_text('name = "echo"\nkind = "service"\ncommand = ["serve"]\n')
    return str(path)


def test_a_file_is_submitted_as_a_revision(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    ((spec, options),) = run(file).submitted
    assert capsys.readouterr().err == "warning: it is not measured yet\n"
    assert (spec.name, options) == ("echo", RolloutOptions())


def test_the_file_of_another_service_replaces_none(file: str) -> None:
    Path(file).write_text('name = "other"\nkind = "service"\ncommand = ["serve"]\n')
    with pytest.raises(ActFailed) as refused:
        run(file)
    text = str(refused.value)
    assert "is a job of the name other, not echo" in text
    assert 'set name = "echo" in it, or use `wattline rollout other' in text


def test_shares_are_percentages(file: str) -> None:
    ((_, options),) = run(file, canary="2.5%").submitted
    assert options == RolloutOptions(canary_permille=25)
    flags = {"shadow": "50%", "compare": "close=1e-3", "in_place": True}
    ((_, options),) = run(file, **flags).submitted
    assert options == RolloutOptions(0, 500, "close=1e-3", True)


@pytest.mark.parametrize("share", ["5", "0%", "100%", "0.04%", "x%"])
def test_what_is_no_share_is_refused_with_its_flag(file: str, share: str) -> None:
    with pytest.raises(ActFailed, match=f"--canary {share}: "):
        run(file, canary=share)


def test_words_act_on_the_rollout_in_progress() -> None:
    assert run("promote").steered == [("echo", "promote")]
    assert run("back").steered == [("echo", "back")]
    assert run("status").steered == []
    assert run(None).steered == []
    with pytest.raises(ActFailed, match="belong to a job file, not to promote"):
        run("promote", canary="5%")


@pytest.mark.parametrize(
    ("name", "what", "error"),
    [
        ("status", "echo", "comes first: `wattline rollout echo status`"),
        ("echo", "undo", "no job file undo; without a file it is one of status, promote, back"),
    ],
)
def test_the_words_of_kubectl_get_ours(name: str, what: str, error: str) -> None:
    with pytest.raises(ActFailed, match=error):
        rollout(cast("Client", FakeClient()), name=name, what=what, **OPTIONS)


def test_both_revisions_are_shown() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(shown(VIEW))
    text = console.export_text()
    assert text.splitlines()[:2] == [
        "echo: checks revision 2 against revision 1.",
        "Now: checks its answers: 6 requests in 4 s.",
    ]
    assert text.splitlines()[-2:] == [
        "2             1        1         2         8       1          -",
        "1             2        2         2       152       0  ≤ 11.3 ms",
    ]


def test_copies_pauses_and_ends_have_their_sentences() -> None:
    paused = msgspec.structs.replace(VIEW, is_paused=True, text="no gateway reports")
    assert "Paused: no gateway reports." in list(lines(paused))
    copies = msgspec.structs.replace(VIEW, shadow=0.05, compare="close=1e-3", equal=9, different=1)
    assert list(lines(copies))[-1] == (
        "Shadow: copies of 5 % of the requests; 9 answers equal, 1 different (close=1e-3)."
    )
    by_model = msgspec.structs.replace(copies, compare="model", uncompared=3)
    assert list(lines(by_model))[-1].endswith("1 different, 3 not compared (model).")
    back = msgspec.structs.replace(VIEW, phase="back", text="requested by ada", canary=0.2)
    assert list(lines(back)) == [
        "echo: went back from revision 2 to revision 1.",
        "Reason: requested by ada.",
        "`wattline job 2` shows the last lines of its log.",
        "Canary: 20 % of the requests.",
    ]
