"""Messages between the parent of a gateway and its processes."""

import asyncio
import socket

from structlog.testing import capture_logs

from wattline_protocol.ids import JobId
from wattline_protocol.wire.rollouts import LoadRise, ReportRises, ReportTraffic, RevisionTraffic
from wattline_runtime.gateway.processes import messages as m


def test_a_message_out_of_its_bounds_is_left_out_and_the_next_is_read() -> None:
    async def run() -> None:
        ours, theirs = socket.socketpair()
        parent = await m.open_channel(ours, m.FromProcess)
        process = await m.open_channel(theirs, m.ToProcess)
        wrong = RevisionTraffic("svc", JobId(1), ready=0, requests=-1, errors=0)
        process.send(m.Reported(ReportTraffic((wrong,))))
        rises = m.Reported(ReportRises((LoadRise("svc", 0.5),)))
        process.send(rises)
        assert await parent.receive() == rises
        await process.closed()
        assert await parent.receive() is None
        parent.close()

    with capture_logs() as logged:
        asyncio.run(run())
    (line,) = logged
    assert line["event"] == "gateway_message_left_out"
    assert "revisions[0].requests" in line["detail"]
