"""Journals of a keeper that a damaged disk has changed: each line ends its attempt alone."""

from pathlib import Path

import pytest

from support.node.keepers import CONTEXT, keeper, replace_keeper, shell
from support.node.simnode import wait_until
from wattline_agent.keeper.journal import read_journal
from wattline_agent.keeper.spec import ENDS_FILE, STARTS_FILE


@pytest.mark.parametrize("torn", [b"", b'["1.0.1",{"kind": "exi', b"\0" * 200, b"[1]\n"])
def test_a_torn_end_counts_as_none(tmp_path: Path, torn: bytes) -> None:
    with keeper(tmp_path) as live:
        live.run(shell("exit 0"))
        (live.state_dir / ENDS_FILE).write_bytes(torn)
        replace_keeper(live)
        seen = live.seen()
        assert seen.exit is not None
        assert seen.exit.kind == "keeper_lost"
        assert read_journal(live.state_dir / ENDS_FILE)["1.0.1"]["kind"] == "keeper_lost"


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"kind":"exiued"}',
        b'{"kind":"exited","run_s":"x"}',
        b'{"kind":"exited","leftover_pids":5}',
    ],
)
def test_an_end_that_is_damaged_keeps_no_agent_from_starting(
    tmp_path: Path, damaged: bytes
) -> None:
    with keeper(tmp_path) as live:
        live.run(shell("exit 0"))
        (live.state_dir / ENDS_FILE).write_bytes(b'["1.0.1",%b]\n' % damaged)
        replace_keeper(live)
        end = live.seen().exit
        assert end is not None
        assert end.kind == "keeper_lost"


@pytest.mark.parametrize("damaged", [b"5", b"{}", b'{"boot_id":1,"pid":"x","cgroup":[]}'])
def test_a_start_whose_note_is_damaged_is_ended_by_its_mark(tmp_path: Path, damaged: bytes) -> None:
    with keeper(tmp_path, "--no-cgroup") as live:
        live.runner.launch(shell("setsid sleep 1000 & wait"), CONTEXT)
        wait_until(lambda: len(live.processes()) == 2, "its processes")
        (live.state_dir / STARTS_FILE).write_bytes(b'["1.0.1",%b]\n' % damaged)
        replace_keeper(live, "--no-cgroup")
        end = live.seen().exit
        assert end is not None
        assert (end.kind, live.processes()) == ("keeper_lost", set())
