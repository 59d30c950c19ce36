"""Tracing: spans for OpenTelemetry, through the queue, where `velesio[tracing]` is installed and switched on.

A request's `traceparent` (W3C Trace Context) travels in its jobs and to the webhooks of their ends in any case, so that
a trace goes on behind this server even if it makes no spans of its own. Nothing in a span tells what anybody said.
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from velesio.config import TracingSection
from velesio.errors import ConfigError

_PARENT = re.compile(r"00-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")
_current: ContextVar[str] = ContextVar("traceparent", default="")

Attributes = Mapping[str, str | int | float | bool]


class _Tracer:
    """What makes the spans; it is set once, at the start of the process."""

    provider: Any = None
    tracer: Any = None


def start(section: TracingSection) -> None:
    """Make spans from now on, if they are switched on.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """
    if not section.enabled:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - optional
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415
    except ImportError:
        raise ConfigError("tracing.enabled: OpenTelemetry is not installed; pip install 'velesio[tracing]'") from None
    provider = TracerProvider(
        resource=Resource.create({"service.name": section.service}),
        sampler=ParentBased(TraceIdRatioBased(section.sample)),
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=section.endpoint or None)))
    use(provider)


def use(provider: Any) -> None:
    """Make spans with a provider of OpenTelemetry's SDK; None: make none."""
    _Tracer.provider = provider
    _Tracer.tracer = provider.get_tracer("velesio") if provider is not None else None


def stop() -> None:
    """Send what there is, and make no more spans."""
    if _Tracer.provider is not None:
        _Tracer.provider.shutdown()
    use(None)


def parent_of(text: str) -> str:
    """A traceparent that can be read; empty: it is none."""
    return text if _PARENT.fullmatch(text) else ""


def trace_id(parent: str) -> str:
    """The id of the trace that a traceparent belongs to; empty: to none."""
    return parent[3:35]


def current() -> str:
    """The traceparent of what this task does; empty: it belongs to no trace."""
    return _current.get()


class Serving:
    """One request under way."""

    def __init__(self, parent: str, span: Any = None) -> None:
        self.parent = parent
        """The traceparent for what it causes."""
        self._span = span

    def end(self, method: str, route: str, code: int) -> None:
        """What is known of it in the end."""
        if self._span is None:
            return
        self._span.update_name(f"{method} {route}")
        self._span.set_attributes(
            {"http.request.method": method, "http.route": route, "http.response.status_code": code}
        )
        if code >= 500:
            from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - optional

            self._span.set_status(Status(StatusCode.ERROR))


@contextmanager
def serving(parent: str, method: str) -> Iterator[Serving]:
    """A span for the request inside the block, which may belong to the client's trace."""
    parent = parent_of(parent)
    if _Tracer.tracer is None:
        _current.set(parent)
        yield Serving(parent)
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415 - optional

    span = _Tracer.tracer.start_span(f"{method} request", context=_context(parent), kind=SpanKind.SERVER)
    try:
        made = _written(span)
        _current.set(made)
        yield Serving(made, span)
    finally:
        span.end()


def record(
    name: str,
    parent: str,
    began: float,
    ended: float | None = None,
    attributes: Attributes | None = None,
    *,
    ok: bool = True,
) -> str:
    """A span that is over, under a traceparent; times are unix seconds, by default up to now. Answers the traceparent
    for what came of it: the parent's own, if no spans are made."""
    if _Tracer.tracer is None or not parent_of(parent):
        return parent
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - optional

    span = _Tracer.tracer.start_span(
        name, context=_context(parent), start_time=_nanoseconds(began), attributes=dict(attributes or {})
    )
    if not ok:
        span.set_status(Status(StatusCode.ERROR))
    span.end(_nanoseconds(time.time() if ended is None else ended))
    return _written(span)


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)


def _context(parent: str) -> Any:
    from opentelemetry.context import Context  # noqa: PLC0415 - optional
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context  # noqa: PLC0415

    found = _PARENT.fullmatch(parent)
    if found is None:
        return Context()
    context = SpanContext(
        trace_id=int(found["trace"], 16),
        span_id=int(found["span"], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(found["flags"], 16)),
    )
    return set_span_in_context(NonRecordingSpan(context), Context())


def _written(span: Any) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
