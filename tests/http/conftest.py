"""A gateway on a socket, with a worker that serves echo models through the real queue."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from tests import echoing
from velesio.backends.base import ModelSpec
from velesio.config import AccessSection, KeySection, LimitsSection, ServerSection
from velesio.http.access.keys import KeyRing
from velesio.http.app import Gateway, runner
from velesio.http.gateway import GATEWAY
from velesio.http.wire import encode
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.credentials import pepper_of
from velesio.queue.registry import Registry
from velesio.queue.replies import Inbox
from velesio.queue.roster import Roster
from velesio.worker import Worker

SPECS = (
    ModelSpec(name="parrot", aliases=("bird", "org/bird"), options={"slots": 8}),
    ModelSpec(name="tiny", options={"context": 8}),
)


@dataclass
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """What a stream without `[DONE]` says."""
        return [json.loads(event) for event in events_of(self.body)]


class Site:
    """A running gateway, and a client of it."""

    def __init__(
        self, app: web.Application, client: aiohttp.ClientSession, address: str, worker: Worker | None
    ) -> None:
        self.app = app
        self.gateway = app[GATEWAY]
        self.client = client
        self.address = address
        self.worker = worker

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        """POSTs `body`, as JSON or, if it is bytes, as it is."""
        return await self.ask("POST", path, body, **headers)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, **headers)

    async def ask(self, method: str, path: str, body: Any = b"", *, at: str = "", **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else encode(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.client.request(method, (at or self.address) + path, data=data, headers=named) as response:
            return Answer(response.status, response.headers, await response.read())

    @property
    def llamacpp(self) -> str:
        """The address of the port for llama.cpp's clients."""
        [port] = self.gateway.ports
        return f"http://127.0.0.1:{port}"

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])


StartSite = Callable[..., Awaitable[Site]]


@asynccontextmanager
async def working(broker: Broker, specs: Sequence[ModelSpec]) -> AsyncIterator[Worker]:
    """A worker of this process that serves `specs` with the echo backend."""
    async with echoing.working(broker, *specs, name="tester", patience=0.0) as worker:
        await until(lambda: not worker.facts()["loading"])
        yield worker


@asynccontextmanager
async def serving(gateway: Gateway) -> AsyncIterator[tuple[web.Application, str]]:
    """The gateway's application on a free port, with its address, and on one for llama.cpp's clients, taken down in the
    order of a real shutdown."""
    app_runner = runner(gateway)
    await app_runner.setup()
    for _ in range(2):
        await web.TCPSite(app_runner, "127.0.0.1", 0).start()
    gateway.ports[app_runner.addresses[1][1]] = "llamacpp"
    host, port = app_runner.addresses[0][:2]
    try:
        yield app_runner.app, f"http://{host}:{port}"
    finally:
        await gateway.finish(0.0)
        await app_runner.cleanup()


@pytest.fixture
async def start_site(broker: Broker) -> AsyncIterator[StartSite]:
    """Starts a gateway, by default without keys and with a worker for `SPECS`."""
    async with AsyncExitStack() as stack:

        async def start(
            *,
            keys: Sequence[KeySection] = (),
            limits: LimitsSection | None = None,
            access: AccessSection | None = None,
            specs: Sequence[ModelSpec] = SPECS,
            server: ServerSection | None = None,
            llamacpp_origins: Sequence[str] = ("*",),
            **sections: Any,
        ) -> Site:
            registry = Registry(broker)
            await registry.start()
            stack.push_async_callback(registry.close)
            worker = await stack.enter_async_context(working(broker, specs)) if specs else None
            inbox = Inbox(broker, f"test-{secrets.token_hex(4)}")
            await inbox.start()
            stack.push_async_callback(inbox.close)
            gateway = Gateway(
                queue=JobQueue(broker),
                inbox=inbox,
                registry=registry,
                broker=broker,
                keys=KeyRing(keys, pepper=await pepper_of(broker), limits=limits, access=access),
                server=server or ServerSection(),
                llamacpp_origins=llamacpp_origins,
                **sections,
            )
            roster = Roster(broker, gateway.enrol)
            await roster.start()
            stack.push_async_callback(roster.close)
            app, address = await stack.enter_async_context(serving(gateway))
            client = await stack.enter_async_context(aiohttp.ClientSession())
            await until(lambda: {card.name for card in registry.cards()} >= {spec.name for spec in specs})
            return Site(app, client, address, worker)

        yield start


@pytest.fixture
async def site(start_site: StartSite) -> Site:
    """A gateway without keys, with a worker."""
    return await start_site()


async def until(true: Callable[[], Any], within: float = 5.0) -> None:
    """Waits until something can be observed."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within):
            while not true():
                await asyncio.sleep(0.005)
    assert true()


def events_of(body: bytes) -> list[bytes]:
    """The data of each event of a stream; fails for anything that is not an event of one data line."""
    assert body.endswith(b"\n\n")
    events = body.removesuffix(b"\n\n").split(b"\n\n")
    assert all(event.startswith(b"data: ") and b"\n" not in event for event in events)
    return [event.removeprefix(b"data: ") for event in events]


def sample(name: str) -> bytes:
    """The body of a captured answer of llama.cpp's server."""
    raw = (Path(__file__).parent / "samples" / f"{name}.http").read_bytes().replace(b"\r\n", b"\n")
    body = raw.partition(b"\n\n")[2]
    return body.strip() + b"\n\n" if body.startswith(b"data:") else body


def counted(name: str, **labels: str) -> float:
    """A metric's value."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


_NAMES = st.sampled_from(["role", "content", "type", "text", "prompt_string", "enable_thinking", "5"])
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**80), max_value=2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["user", "assistant", "text", "none", "auto", "kt"])
)
ANYTHING = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3), max_leaves=6
)
"""Any JSON, with names that mean something here and there."""


def bodies(kinds: Sequence[Any], **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies with a few of the fields that these structs have, of any type."""
    names = sorted({field.name for kind in kinds for field in msgspec.structs.fields(kind)})
    some = st.dictionaries(st.sampled_from(names), ANYTHING, max_size=3)
    return st.builds(lambda one, two: {**one, **two}, some, st.fixed_dictionaries(fixed))
