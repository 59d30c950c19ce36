"""Fixtures of the chaos and fault tests, and the report of a chaos run."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.broker import BrokerServer
from tests.end_to_end.conftest import folder, start

__all__ = ["folder", "start"]

_REPORT = "chaos"
MakeBroker = Callable[..., BrokerServer]


@pytest.fixture(params=["valkey", "redis"])
def each_broker(request: pytest.FixtureRequest) -> str:
    """Both kinds of server, where they may differ."""
    return str(request.param)


@pytest.fixture(autouse=True)  # set up first, so that brokers outlive the servers that use them
def make_broker(folder: Path) -> Iterator[MakeBroker]:
    """Starts brokers and kills them after the test: `make_broker("valkey", "--maxmemory", "8mb")`."""
    made: list[BrokerServer] = []

    def make(kind: str = "valkey", *options: str, **place: object) -> BrokerServer:
        made.append(BrokerServer(kind, folder, *options, **place))
        return made[-1].start()

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def chaos_seconds(request: pytest.FixtureRequest) -> float:
    """How long a chaos run lasts."""
    return float(request.config.getoption("--chaos-seconds"))


@pytest.fixture
def chaos_seed(request: pytest.FixtureRequest) -> int | None:
    """The seed of a chaos run that is to be repeated."""
    found: int | None = request.config.getoption("--chaos-seed")
    return found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A chaos run may take as long as it was told to, and then some to settle."""
    for item in items:
        if "chaos_seconds" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(config.getoption("--chaos-seconds") + 150))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Shows what the tests reported, whether they passed or not."""
    reports = [report for key in ("passed", "failed") for report in terminalreporter.stats.get(key, [])]
    lines = [text for report in reports for name, text in getattr(report, "user_properties", []) if name == _REPORT]
    for line in lines:
        terminalreporter.write_line(f"chaos: {line}")
