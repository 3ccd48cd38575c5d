"""Reports of a gateway on their way to the scheduler."""

import asyncio
import queue
import threading
from collections.abc import Iterator
from typing import cast

from wattline import Client
from wattline.client.routes import ClientRoutes
from wattline_protocol.wire.client_messages import Request
from wattline_protocol.wire.rollouts import LoadRise, ReportRises, ReportTraffic
from wattline_protocol.wire.routes import Routes

WAIT_S = 30.0


class Scheduler:
    """Takes requests, and answers once it is there."""

    def __init__(self) -> None:
        self.is_there = threading.Event()
        self.asked: queue.Queue[Request] = queue.Queue()

    def watch_routes(self) -> Iterator[Routes]:
        yield Routes({})
        threading.Event().wait()

    def act(self, request: Request) -> None:
        self.asked.put(request)
        self.is_there.wait()


def test_a_rise_takes_no_place_from_traffic_while_the_scheduler_does_not_answer() -> None:
    first, later, late = (ReportRises((LoadRise("svc", per_s),)) for per_s in (1.0, 2.0, 3.0))
    traffic = ReportTraffic(())

    async def run() -> list[Request]:
        scheduler = Scheduler()
        routes = ClientRoutes(cast("Client", scheduler))
        await anext(routes.updates())
        routes.report(first)
        sent = [scheduler.asked.get(timeout=WAIT_S)]
        for report in (later, traffic, late):
            routes.report(report)
        scheduler.is_there.set()
        sent += [scheduler.asked.get(timeout=WAIT_S) for _ in range(2)]
        routes.report(traffic)
        return [*sent, scheduler.asked.get(timeout=WAIT_S)]

    assert asyncio.run(run()) == [first, later, traffic, traffic]
