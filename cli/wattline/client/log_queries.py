"""A gateway's part in reads of its logs: queries of the scheduler, one at a time."""

import threading
import time
from collections.abc import Callable

import structlog

from wattline.client.asking import RequestClient
from wattline.client.errors import Unreachable, WattlineError
from wattline_protocol.views.request_logs import LogQuery, ReportLogPage, WatchLogQueries

RETRY_S = 60.0
RETRY_SOON_S = 1.0

log = structlog.get_logger()


def answer_log_queries(client: RequestClient, read: Callable[[LogQuery], ReportLogPage]) -> None:
    """Answer them in a thread, for as long as the process lasts. Closing the client ends it."""
    work = threading.Thread(target=_answer, args=(client, read), name="log-queries", daemon=True)
    work.start()


def _answer(client: RequestClient, read: Callable[[LogQuery], ReportLogPage]) -> None:
    last = ""
    while not client.is_closed:
        try:
            for query in client.watch(WatchLogQueries(), LogQuery, None):
                last = ""
                if query.number:
                    client.act(read(query))
        except WattlineError as error:
            if str(error) != last and not client.is_closed:  # a later scheduler may accept it
                last = str(error)
                log.warning("log_queries_refused", detail=last)
            time.sleep(RETRY_SOON_S if isinstance(error, Unreachable) else RETRY_S)
