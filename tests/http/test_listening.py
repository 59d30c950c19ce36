"""The ports of a server."""

import socket
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from aiohttp import web

from velesio.config import PortsSection, ServerSection
from velesio.errors import ConfigError
from velesio.http import listening
from velesio.http.listening import open_ports, wanted


@pytest.fixture
async def runner() -> AsyncIterator[web.AppRunner]:
    async def hello(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.add_routes([web.get("/", hello)])
    runner = web.AppRunner(app)
    await runner.setup()
    yield runner
    await runner.cleanup()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program has."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


@pytest.fixture
def free(taken: int) -> int:
    with socket.create_server(("127.0.0.1", 0)) as other:
        return int(other.getsockname()[1])


@pytest.mark.parametrize(
    ("ports", "standalone", "expected"),
    [
        (PortsSection(), True, {"llamacpp": 1337, "sdapi": 7860}),
        (PortsSection(), False, {}),
        (PortsSection(llamacpp=0), True, {"sdapi": 7860}),
        (PortsSection(llamacpp=0, sdapi=0), True, {}),
        (PortsSection(sdapi=7861), False, {"sdapi": 7861}),
        (PortsSection(llamacpp=8080), False, {"llamacpp": 8080}),
        (PortsSection(llamacpp=0, sdapi=0, unity=13333, ollama=11434), True, {"ollama": 11434, "unity": 13333}),
    ],
)
def test_which_ports_are_wanted(ports: PortsSection, standalone: bool, expected: dict[str, int]) -> None:
    """The usual port only where everything runs in one process."""
    assert wanted(ports, standalone=standalone) == expected


async def test_the_same_routes_answer_at_each_port(runner: web.AppRunner, free: int) -> None:
    """One application, several ports."""
    opened = await open_ports(runner, ServerSection(port=0), PortsSection(unity=free), standalone=False)
    assert opened == {"unity": free}
    async with aiohttp.ClientSession() as client:
        for address in runner.addresses:
            async with client.get(f"http://127.0.0.1:{address[1]}/") as answer:
                assert await answer.text() == "hello"


async def test_a_usual_port_that_is_taken_is_left_out(
    runner: web.AppRunner, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asked for it."""
    monkeypatch.setattr(listening, "USUAL", {"llamacpp": taken, "sdapi": taken})
    assert await open_ports(runner, ServerSection(port=0), PortsSection(), standalone=True) == {}


async def test_a_configured_port_that_is_taken_is_an_error(runner: web.AppRunner, taken: int) -> None:
    """The message names the option."""
    with pytest.raises(ConfigError, match=r"ports\.unity"):
        await open_ports(runner, ServerSection(port=0), PortsSection(unity=taken), standalone=False)


async def test_the_own_port_that_is_taken_is_an_error(runner: web.AppRunner, taken: int) -> None:
    """As before."""
    with pytest.raises(ConfigError, match=rf"cannot listen on 127.0.0.1:{taken}.*server.port"):
        await open_ports(runner, ServerSection(port=taken), PortsSection(), standalone=False)
