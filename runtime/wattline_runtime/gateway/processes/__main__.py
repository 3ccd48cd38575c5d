"""`python -m wattline_runtime.gateway.processes FD`: one process of a gateway, started by its
parent, which is at the other end of FD."""

import asyncio
import socket
import sys

from wattline_protocol.wire.transport import TransportError
from wattline_runtime.gateway.connections.takeover import TakeoverFailed
from wattline_runtime.gateway.processes import messages as m
from wattline_runtime.gateway.processes.member import Member
from wattline_runtime.gateway.run import loop_factory, serve
from wattline_runtime.logs import log_to_stderr


async def _run(connection: socket.socket) -> int:
    channel: m.Channel[m.ToProcess] = await m.open_channel(connection, m.ToProcess)
    begin = await channel.receive()
    if not isinstance(begin, m.Begin):
        return 2  # the parent has ended
    log_to_stderr(as_json=begin.config.json_logs)
    member = Member(channel, begin)
    try:
        return await serve(begin.config, member, member.serving, member)
    except (ValueError, OSError, TransportError, TakeoverFailed) as error:
        channel.send(m.Failed(str(error)))
        return 2
    finally:
        await member.close()


def main() -> int:
    """Serve until SIGTERM, or until the parent ends."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_run(connection))


if __name__ == "__main__":
    sys.exit(main())
