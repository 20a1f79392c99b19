"""Traces: W3C context through HTTP, outbox, Kafka, handlers, the process pool and storage; exported by OTLP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

tracer = trace.get_tracer("mediabus")

PROPAGATOR = TraceContextTextMapPropagator()

EXPORT_SECONDS = 2.0
SHUTDOWN_MILLIS = 3_000


def start_tracing(service: str, instance: str, otlp_endpoint: str | None) -> TracerProvider:
    """Install the tracer provider of this process.

    Without an endpoint nothing is recorded, yet trace ids stand in logs and messages. `otlp_endpoint` is the base URL
    of an OTLP/HTTP receiver, e.g. http://127.0.0.1:4318.
    """
    resource = Resource.create({SERVICE_NAME: service, SERVICE_INSTANCE_ID: instance})
    # A parent's decision is not asked for: a service that exports records its part of every trace.
    provider = TracerProvider(resource=resource, sampler=ALWAYS_ON if otlp_endpoint else ALWAYS_OFF)
    if otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=500))
    trace.set_tracer_provider(provider)
    return provider


def trace_headers() -> dict[str, str]:
    """The current context as W3C headers; empty outside any span."""
    carrier: dict[str, str] = {}
    PROPAGATOR.inject(carrier)
    return carrier


def current_traceparent() -> str | None:
    return trace_headers().get("traceparent")


def current_tracestate() -> str | None:
    return trace_headers().get("tracestate")


def current_trace_id() -> str | None:
    """32 hex digits, or None outside any span."""
    span_context = trace.get_current_span().get_span_context()
    return f"{span_context.trace_id:032x}" if span_context.is_valid else None


@contextmanager
def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, AttributeValue] | None = None,
    *,
    parent_headers: Mapping[str, str] | None = None,
) -> Iterator[Span]:
    """Run the block inside a span; an exception marks it failed and goes on.

    `parent_headers` are W3C headers that came with a message or a request: the span continues their trace.
    """
    # By hand: the tracer's own context manager is three generators deep, on every request and message.
    parent = PROPAGATOR.extract(parent_headers) if parent_headers is not None else None
    current = tracer.start_span(name, parent, kind=kind, attributes=attributes)
    token = context.attach(trace.set_span_in_context(current, parent))
    try:
        yield current
    except Exception as error:
        current.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"[:500]))
        raise
    finally:
        context.detach(token)
        current.end()


def record_span(name: str, start_ns: int, end_ns: int, attributes: Mapping[str, AttributeValue] | None = None) -> None:
    """Add a span for work that another process did, as a child of the current span; times are Unix nanoseconds."""
    made = tracer.start_span(name, start_time=start_ns, attributes=dict(attributes or {}))
    made.end(end_time=end_ns)
