"""Tracing: one trace from the client through gateway, queue and engine; nothing in it tells what anybody said."""

import json
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.http.background.test_jobs import ended, queued
from tests.http.background.test_webhooks import receiving, section
from tests.http.conftest import Site, StartSite, until
from velesio import tracing
from velesio.config import TracingSection

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
ASKED = {"prompt": "the secret words", "n_predict": 3}


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    yield exporter
    tracing.stop()


async def test_a_request_is_one_trace_through_the_queue(site: Site, spans: InMemorySpanExporter) -> None:
    """The gateway's span below the client's, the queue's and the engine's below the gateway's, one after the other."""
    answer = await site.post("/completion", ASKED, traceparent=PARENT)
    assert answer.status == 200
    await until(lambda: len(spans.get_finished_spans()) >= 3)
    found = {span.name: span for span in spans.get_finished_spans()}
    assert found.keys() == {"POST /completion", "queue", "engine"}
    assert {f"{span.context.trace_id:032x}" for span in found.values()} == {TRACE}
    gateway, queue, engine = found["POST /completion"], found["queue"], found["engine"]
    assert f"{gateway.parent.span_id:016x}" == PARENT.split("-")[2]
    assert queue.parent.span_id == engine.parent.span_id == gateway.context.span_id
    assert queue.start_time <= queue.end_time == engine.start_time <= engine.end_time
    assert gateway.attributes["http.response.status_code"] == 200
    assert engine.attributes["gen_ai.request.model"] == "parrot"
    assert engine.attributes["velesio.job_id"] == answer.headers["X-Velesio-Job-Id"]
    assert answer.headers["traceparent"] == f"00-{TRACE}-{gateway.context.span_id:016x}-01"
    assert "secret words" not in json.dumps([json.loads(span.to_json()) for span in found.values()])


async def test_a_request_without_a_trace_begins_one(site: Site, spans: InMemorySpanExporter) -> None:
    """And one whose header says nonsense."""
    for headers in ({}, {"traceparent": "00-" + "0" * 32 + "-" + "0" * 16 + "-01"}, {"traceparent": "x"}):
        spans.clear()
        answer = await site.get("/v1/models", **headers)
        [span] = spans.get_finished_spans()
        assert span.parent is None
        assert answer.headers["traceparent"].split("-")[1] == f"{span.context.trace_id:032x}"


async def test_what_is_not_sampled_makes_no_spans(site: Site) -> None:
    """The client's own decision counts, at the worker too."""
    exporter = InMemorySpanExporter()
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(0.0)))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(provider)
    try:
        assert (await site.post("/completion", ASKED)).status == 200
        assert (await site.post("/completion", ASKED, traceparent=PARENT[:-1] + "0")).status == 200
    finally:
        tracing.stop()
    assert exporter.get_finished_spans() == ()


async def test_a_failure_is_marked(site: Site, spans: InMemorySpanExporter) -> None:
    """The engine's span, and the request's."""
    assert (await site.post("/completion", {"prompt": "[[fail no luck]]"})).status == 500
    await until(lambda: len(spans.get_finished_spans()) >= 3)
    failed = {
        span.name
        for span in spans.get_finished_spans()
        if not span.status.is_ok and span.status.status_code.name == "ERROR"
    }
    assert failed == {"POST /completion", "engine"}


async def test_a_trace_goes_through_even_where_no_spans_are_made(start_site: StartSite) -> None:
    """In the job to the webhook of its end; the answer names it as it came."""
    async with receiving() as receiver:
        site = await start_site(webhooks=section())
        body = {"url": "/completion", "body": ASKED, "webhook": receiver.address}
        job = await queued(site, body, traceparent=PARENT)
        await ended(site, job)
        await until(lambda: receiver.heard)
        assert receiver.heard[0].headers["traceparent"] == PARENT
        assert (await site.get("/v1/models", traceparent=PARENT)).headers["traceparent"] == PARENT
        assert "traceparent" not in (await site.get("/v1/models")).headers


def test_spans_are_sent_where_the_configuration_says() -> None:
    """Switched off nothing is made; switched on, the exporter has the address."""
    tracing.start(TracingSection())
    assert tracing._Tracer.provider is None
    tracing.start(TracingSection(enabled=True, endpoint="http://127.0.0.1:9/v1/traces", service="s"))
    try:
        provider = tracing._Tracer.provider
        assert provider.resource.attributes["service.name"] == "s"
    finally:
        tracing.stop()
