"""llama.cpp's metrics: what its server has at `/metrics`, summed over all workers of the installation."""

import time
from collections.abc import Iterable, Sequence

import msgspec
from aiohttp import web

from velesio.http.finding import find_model, visible_cards
from velesio.http.gateway import CREDENTIAL, GATEWAY, LLAMACPP, port_name
from velesio.queue.client import QueueStatus
from velesio.states import Counts, total

CONTENT_TYPE = "text/plain; version=0.0.4"
_BEGAN = int(time.time())


class Metric(msgspec.Struct, frozen=True):
    """One metric with its value, or with a value for each label."""

    name: str
    kind: str
    help: str
    values: dict[str, float]
    """By label, as it is written; of a metric without labels there is one, the empty label's."""


def wanted(request: web.Request) -> bool:
    """Whether a request for `/metrics` means llama.cpp's: it comes to the port for its clients, or names a model."""
    return port_name(request) == LLAMACPP or "model" in request.query


async def metrics(request: web.Request) -> web.Response:
    """`GET /metrics` of llama.cpp's server: of the text model in `?model=`, else of all that the key may use."""
    gateway = request.app[GATEWAY]
    if name := request.query.get("model"):
        names: tuple[str, ...] = ((await find_model(request, name, "text")).name,)
    else:
        cards = visible_cards(gateway.registry, request[CREDENTIAL])
        names = tuple(card.name for card in cards if card.capability == "text")
    counts = total(worker.counts(name) for worker in gateway.registry.workers() for name in names)
    found = of(counts, await gateway.queue.status(), names, gateway.pace.since_last(names, counts))
    headers = {"Content-Type": CONTENT_TYPE, "Process-Start-Time-Unix": str(_BEGAN)}
    return web.Response(body=written(found), headers=headers)


def of(counts: Counts, status: QueueStatus, models: Sequence[str], pace: tuple[float, float]) -> list[Metric]:
    """The metrics of some models."""
    depths = [depth for depth in status.models if depth.capability == "text" and depth.model in models]
    return [
        _counter("prompt_tokens_total", "Prompt tokens that were computed.", counts.prompt_tokens),
        _counter("prompt_tokens_cached_total", "Prompt tokens found in the prefix cache.", counts.cached_tokens),
        _counter("prompt_seconds_total", "Seconds spent on prompts.", counts.prompt_seconds),
        _counter("tokens_predicted_total", "Tokens of answers.", counts.generated_tokens),
        _counter("tokens_predicted_seconds_total", "Seconds spent on answers.", counts.generated_seconds),
        _counter("n_decode_total", "Steps that engines have computed.", counts.steps),
        _counter("n_tokens_max", "Tokens of the longest sequence.", counts.longest),
        _counter("spec_decode_num_draft_tokens_total", "Tokens guessed ahead.", counts.drafted),
        _counter("spec_decode_num_accepted_tokens_total", "Guessed tokens that were right.", counts.accepted),
        _counter("spec_decode_num_drafts_total", "Times that tokens were guessed ahead.", counts.drafts),
        *_by_position(counts.accepted_at),
        _gauge("prompt_tokens_seconds", "Prompt tokens a second since the last scrape.", pace[0]),
        _gauge("predicted_tokens_seconds", "Tokens of answers a second since the last scrape.", pace[1]),
        _gauge("requests_processing", "Jobs that are computed.", sum(depth.running for depth in depths)),
        _gauge("requests_deferred", "Jobs that wait.", sum(sum(depth.waiting) for depth in depths)),
        _gauge(
            "n_busy_slots_per_decode",
            "Jobs that a step advances, on average.",
            round(counts.sequences / counts.steps, 6) if counts.steps else 0.0,
        ),
    ]


def _counter(name: str, text: str, value: float) -> Metric:
    return Metric(name, "counter", text, {"": value})


def _gauge(name: str, text: str, value: float) -> Metric:
    return Metric(name, "gauge", text, {"": value})


def _by_position(accepted: Sequence[int]) -> list[Metric]:
    """The guesses that were right by their place in the draft, counted from 0; absent before the first, as there."""
    if not accepted:
        return []
    values: dict[str, float] = {f'{{position="{place}"}}': count for place, count in enumerate(accepted)}
    text = "Guessed tokens that were right, by their place in the draft."
    return [Metric("spec_decode_num_accepted_tokens_per_pos_total", "counter", text, values)]


def written(metrics: Iterable[Metric]) -> bytes:
    """In Prometheus's text format."""
    lines: list[str] = []
    for metric in metrics:
        name = f"llamacpp:{metric.name}"
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {metric.kind}"]
        lines += [f"{name}{label} {value}" for label, value in metric.values.items()]
    return "\n".join([*lines, ""]).encode()
