"""Logs of programs whose disk is full, or whose reader has ended."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wattline_agent.logs import make_log
from wattline_protocol.text.log_stream import lasting_stream

LINES = 500
"""More than a buffer holds."""
CONFIGURED = f"""
import structlog
from {{module}} import log_to_stderr
log_to_stderr(as_json=True)
for number in range({LINES}):
    structlog.get_logger().warning("line", number=number, text="x" * 100)
print("went on", flush=True)
"""


def test_an_agent_goes_on_where_the_disk_of_its_log_is_full(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        log = make_log(is_json=True, stream=full)
        for number in range(LINES):
            log.info("line", number=number, text="x" * 100)
        with (tmp_path / "log").open("w") as there:
            os.dup2(there.fileno(), full.fileno())
        log.info("again")
    assert '"event": "again"' in (tmp_path / "log").read_text()


def test_a_pipe_without_a_reader_ends_no_program() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    pipe = os.fdopen(writer, "w")
    stream = lasting_stream(pipe)
    stream.write("line\n")
    stream.flush()
    with pytest.raises(BrokenPipeError):
        pipe.close()


@pytest.mark.parametrize("module", ["wattline_scheduler.shell.logs", "wattline_runtime.logs"])
def test_the_others_do_so_too(module: str) -> None:
    with Path("/dev/full").open("w") as full:
        run = subprocess.run(
            [sys.executable, "-c", CONFIGURED.format(module=module)],
            stdout=subprocess.PIPE,
            stderr=full,
            check=False,
        )
    assert run.stdout == b"went on\n"
