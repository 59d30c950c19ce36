"""Planning: from what was measured to what so many users need, with the arithmetic written out. Pure.

The figures of the machine come from the records of the benches and of the simulation; what users do is an
assumption that stands beside them, and so are the figures of GPUs, which nobody has measured here.
"""

import math
import statistics
from collections.abc import Sequence

import msgspec

from benches import text_figures
from benches.page_records import Records

_BUSY = 0.6
"""Part of a core that an event loop may be busy, so that nothing waits for it long."""
_HEADROOM = 4 / 3
"""Arrivals come in bunches: workers a third more than the mean needs."""
_BEAT = 5.0


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What users do."""

    users: int = 10_000
    active: float = 0.05
    """Part of them that is at it in the busiest hour."""
    pause_s: float = 60.0
    """Between two requests of one that is."""
    prompt: int = 600
    """Tokens of a text request, conversation included."""
    cached: int = 400
    """Of these, which the worker has computed before."""
    answer: int = 150
    """Tokens."""
    pictures: float = 0.05
    """Part of the requests that are for a picture."""
    standstill_s: float = 60.0
    """For which jobs shall be able to wait while nothing is served."""


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """How fast a worker is."""

    name: str
    prefill: float
    """Tokens of prompts a second."""
    decode: float
    """Tokens of answers a second, all slots together."""
    token_ms: float
    """Between two tokens of one answer."""
    picture_s: float
    """Of its time for a picture among others."""
    measured: bool = True


GPU = Worker(
    name="a GPU of 24 GB, model of 8 billion weights in 4 bits",
    prefill=4000.0,
    decode=1000.0,
    token_ms=25.0,
    picture_s=2.5,
    measured=False,
)
"""Nobody's measurement here: round numbers of the order that others publish. Put your own in their place."""


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What the parts cost, as measured."""

    request_us: float
    """Processor time of gateway, worker and broker's client for a request of no tokens, all in one process."""
    token_us: float
    """Of a gateway for a token that it streams."""
    job_us: float
    """Of the broker for a job, from the queue to its end, with most workers; by the medians of its calls."""
    event_us: float
    """Of the broker for a token on its way."""
    worker_us: float
    """Of the broker in each second for a worker that lives."""
    waiting_kib: float
    """Of the broker's memory for a job that waits."""
    gateway_mib: float
    cpu: Worker
    """The machine that was measured."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the arithmetic."""

    what: str
    how: str
    comes_to: str


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What a demand comes to."""

    requests_per_s: float
    streams: float
    gateways: int
    broker_cores: float
    text_workers: int
    picture_workers: int
    broker_mib: float
    steps: list[Step]


def costs(records: Records) -> Costs:
    """From the records."""
    streams = records.gateway.streams
    assert streams is not None
    largest = max(records.simulation.runs, key=lambda run: run.plan.workers)
    scripts = {cost.name: cost for cost in largest.costs}
    ended = scripts["finish"].calls
    lines = records.growth.lines
    shallow, deep = lines["depth"].points[0], lines["depth"].points[-1]
    assert shallow.broker_mib is not None
    assert deep.broker_mib is not None
    return Costs(
        request_us=statistics.median(turn.job_cpu_us for turn in records.gateway.velesio),
        token_us=streams.cores["gateway"] / (streams.tokens / streams.seconds) * 1e6,
        job_us=sum(
            (scripts[name].p50_us - largest.ping_us) * scripts[name].calls / ended
            for name in ("enqueue", "take", "finish", "wake", "answered")
            if name in scripts
        ),
        event_us=lines["workers"].points[-1].figures["broker_us_per_token"],
        worker_us=(scripts["beat"].p50_us - largest.ping_us) / _BEAT,
        waiting_kib=(deep.broker_mib - shallow.broker_mib) * 1024 / (deep.at - shallow.at),
        gateway_mib=statistics.median(point.memory_mib["velesio"] for point in lines["requests"].points),
        cpu=_measured(records),
    )


def _measured(records: Records) -> Worker:
    """The machine of the text and the image bench."""
    alone = text_figures.medians(records.text.turns, "clients-1", text_figures.OWN)
    together = text_figures.medians(records.text.turns, "clients-8", text_figures.OWN)
    [pictures] = [row for row in records.images.rows if row.name == "eight_at_128"]
    return Worker(
        name="the two cores that were measured, demo models",
        prefill=alone["prompt_tokens"] / alone["first_ms"] * 1000,
        decode=together["tokens_per_s"],
        token_ms=8 / together["tokens_per_s"] * 1000,
        picture_s=statistics.median(pictures.own) / 8,
    )


def need(demand: Demand, found: Costs, worker: Worker) -> Need:
    """What the demand needs of such workers; every figure with how it came about."""
    load = _load(demand)
    fresh = demand.prompt - demand.cached
    each = fresh / worker.prefill + demand.answer / worker.decode
    lasts = fresh / worker.prefill + demand.answer * worker.token_ms / 1000
    text_workers = math.ceil(load.texts * each * _HEADROOM)
    picture_workers = math.ceil(load.pictures * worker.picture_s * _HEADROOM)
    workers = text_workers + picture_workers
    loops = (load.requests * found.request_us + load.tokens * found.token_us) / 1e6
    gateways = max(2, math.ceil(loops / _BUSY))
    broker = (load.requests * found.job_us + load.tokens * found.event_us + workers * found.worker_us) / 1e6
    waiting = load.requests * demand.standstill_s
    memory = waiting * found.waiting_kib / 1024
    lines = [
        *_demanded(demand, load),
        (
            "a worker's time for a text",
            f"{fresh} ÷ {worker.prefill:,.0f} + {demand.answer} ÷ {worker.decode:,.0f} s",
            f"{each:,.3f} s",
        ),
        ("text workers", f"{load.texts:,.2f} × {each:,.3f} × 4/3", f"{text_workers:,}"),
        ("picture workers", f"{load.pictures:,.2f} × {worker.picture_s:,.2f} s × 4/3", f"{picture_workers:,}"),
        (
            "streams open at once",
            f"{load.texts:,.2f} × ({fresh} ÷ {worker.prefill:,.0f} s + {demand.answer} × {worker.token_ms:,.0f} ms)",
            f"{load.texts * lasts:,.0f}",
        ),
        (
            "cores for gateways",
            f"{load.requests:,.2f} × {found.request_us:,.0f} us + {load.tokens:,.0f} × {found.token_us:,.1f} us",
            f"{loops:,.3f}",
        ),
        (
            f"gateways, each busy for {_BUSY:g} of a core, two at least",
            f"{loops:,.3f} ÷ {_BUSY:g}",
            f"{gateways:,}, {gateways * found.gateway_mib:,.0f} MiB",
        ),
        (
            "cores for the broker",
            (
                f"{load.requests:,.2f} × {found.job_us:,.0f} us + {load.tokens:,.0f} × {found.event_us:,.1f} us"
                f" + {workers:,} × {found.worker_us:,.1f} us"
            ),
            f"{broker:,.3f}",
        ),
        (
            f"jobs that wait after a standstill of {demand.standstill_s:g} s",
            f"{load.requests:,.2f} × {demand.standstill_s:g} s × {found.waiting_kib:,.2f} KiB",
            f"{waiting:,.0f}, {memory:,.1f} MiB",
        ),
    ]
    return Need(
        requests_per_s=load.requests,
        streams=load.texts * lasts,
        gateways=gateways,
        broker_cores=broker,
        text_workers=text_workers,
        picture_workers=picture_workers,
        broker_mib=memory,
        steps=[Step(what=what, how=how, comes_to=comes_to) for what, how, comes_to in lines],
    )


class _Load(msgspec.Struct, frozen=True, kw_only=True):
    """What a demand comes to in a second."""

    at_once: float
    requests: float
    pictures: float
    texts: float
    tokens: float
    """Of answers."""


def _load(demand: Demand) -> _Load:
    at_once = demand.users * demand.active
    requests = at_once / demand.pause_s
    texts = requests * (1 - demand.pictures)
    return _Load(
        at_once=at_once,
        requests=requests,
        pictures=requests * demand.pictures,
        texts=texts,
        tokens=texts * demand.answer,
    )


def _demanded(demand: Demand, load: _Load) -> list[tuple[str, str, str]]:
    """The lines that are about users alone."""
    fresh = demand.prompt - demand.cached
    return [
        ("users at it", f"{demand.users:,} × {demand.active:g}", f"{load.at_once:,.0f}"),
        ("requests a second", f"{load.at_once:,.0f} ÷ {demand.pause_s:g} s", f"{load.requests:,.2f}"),
        (
            "of these for pictures, for text",
            f"{load.requests:,.2f} × {demand.pictures:g}, the rest",
            f"{load.pictures:,.2f}, {load.texts:,.2f}",
        ),
        (
            "tokens to compute of prompts, of answers, a second",
            f"{load.texts:,.2f} × ({demand.prompt} - {demand.cached}), {load.texts:,.2f} × {demand.answer}",
            f"{load.texts * fresh:,.0f}, {load.tokens:,.0f}",
        ),
    ]


def scales(found: Costs, workers: Sequence[Worker], users: Sequence[int]) -> list[tuple[Worker, Demand, Need]]:
    """The same demand of fewer and of more users."""
    demands = [Demand(users=count) for count in users]
    return [(worker, demand, need(demand, found, worker)) for worker in workers for demand in demands]
