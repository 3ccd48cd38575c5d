"""Spans of requests for a collector of OpenTelemetry, by OTLP over HTTP.

For gateways with --otlp alone: only they import OpenTelemetry (the extra `otel`). Its own thread
sends; spans that the collector does not take are dropped.
"""

import logging
import threading
import time

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wattline_runtime.gateway.client import TRACE, trace_of
from wattline_runtime.gateway.errors import CLIENT_GONE_STATUS
from wattline_runtime.gateway.events import Trace
from wattline_runtime.gateway.streams.openai import METHOD_OF
from wattline_runtime.gateway.telemetry.request_fields import RequestFields
from wattline_runtime.trace_context import TRACEPARENT

PROGRAM = "wattline-gateway"
EXPORT_S = 2.0
"""Time for one batch of spans."""
CLOSE_S = 1.0
"""Time for the last ones when the gateway ends."""
COMPLAIN_S = 60.0
MAX_WHY_CHARS = 300

log = structlog.get_logger()


class _Complaints(logging.Handler):
    """OpenTelemetry's own, as events of the gateway's log, of which there may be many."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next_s = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """At most one a minute."""
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + COMPLAIN_S
            log.warning("spans_not_sent", why=record.getMessage()[:MAX_WHY_CHARS])


class Spans:
    """Makes them, and sends them."""

    def __init__(self, url: str) -> None:
        """`url`: of the collector, as in http://127.0.0.1:4318/v1/traces."""
        resource = Resource.create({SERVICE_NAME: PROGRAM})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=url, timeout=EXPORT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        complaints = logging.getLogger("opentelemetry")
        complaints.addHandler(_Complaints())
        complaints.propagate = False
        self.tracer = self._provider.get_tracer(PROGRAM)

    def around(self, app: ASGIApp, fields: RequestFields) -> ASGIApp:
        """The app whose requests get a span."""
        return Traced(app, self.tracer, fields)

    def close(self) -> None:
        """Send the last ones. A collector that does not answer delays the end by CLOSE_S."""
        ending = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        ending.start()
        ending.join(CLOSE_S)


class Traced:
    """ASGI app that makes a span of each request to services of another one."""

    def __init__(self, app: ASGIApp, tracer: trace.Tracer, fields: RequestFields) -> None:
        self._app, self._tracer, self._fields = app, tracer, fields
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it as the other app does; the span is the parent of what the worker does."""
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        start_s = time.monotonic()
        given = trace_of(scope)
        parent = None if given is None else {TRACEPARENT: given.parent}
        context = self._propagator.extract(parent or {})
        span = self._tracer.start_span(_name(scope["path"]), context, SpanKind.SERVER)
        own: dict[str, str] = {}
        self._propagator.inject(own, trace.set_span_in_context(span))
        if TRACEPARENT in own:  # not so where OTEL_SDK_DISABLED is set
            scope[TRACE] = Trace(own[TRACEPARENT])
        status = CLIENT_GONE_STATUS

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            if isinstance(span, Span) and span.is_recording():
                self._describe(span, scope, status)
                _time(span, start_s, scope[TRACE].sent_s)
            span.end()

    def _describe(self, span: Span, scope: Scope, status: int) -> None:
        facts = {name: value for name, value in self._fields.of(scope).items() if value}
        span.set_attributes({f"wattline.{name}": value for name, value in facts.items()})
        span.set_attribute("http.request.method", scope["method"])
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(StatusCode.ERROR)


def _name(path: str) -> str:
    """Of a span: one of few, whatever a client requests."""
    return METHOD_OF.get(path) or ("infer" if path.endswith("/infer") else "request")


def _time(span: Span, start_s: float, sent_s: float) -> None:
    """How long it was here before it was first sent to a worker, and from then to its answer."""
    if sent_s:
        span.set_attribute("wattline.queue_ms", round((sent_s - start_s) * 1000, 3))
        span.set_attribute("wattline.model_ms", round((time.monotonic() - sent_s) * 1000, 3))
