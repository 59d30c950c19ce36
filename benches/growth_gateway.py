"""Growth of the gateway's cost: no-op jobs by one process, with so many clients that ask at once."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from benches import gateway_client as client
from benches import memory
from benches.gateway_servers import KEY, MODEL, velesio
from benches.growth_record import Axis, Measured

_SECONDS = 2.5
_JOB = msgspec.json.encode({"model": MODEL, "prompt": "hello", "max_tokens": 0})


@contextlib.contextmanager
def _requests(folder: Path) -> Iterator[Callable[[int], Measured]]:
    with velesio(folder, apart=False) as server:
        sent = client.request("POST", "/v1/completions", server.port, KEY, _JOB)
        asyncio.run(client.flood(server.port, sent, 16, 1.0))  # warms it up

        def measure(clients: int) -> Measured:
            before = sum(server.seconds().values())
            jobs, seconds = asyncio.run(client.flood(server.port, sent, clients, _SECONDS))
            computed = sum(server.seconds().values()) - before
            family = [each for process in server.processes.values() for each in (process, *process.children())]
            return Measured(
                figures={
                    "jobs_per_s": round(jobs / seconds, 1),
                    "mean_ms": round(clients * seconds / jobs * 1000, 3),
                    "cpu_us": round(computed / jobs * 1e6, 1),
                },
                memory_mib={
                    "velesio": memory.held(server.processes.values()),
                    "valkey": memory.held(each for each in family if "valkey" in each.name()),
                },
                broker_mib=memory.used_by_embedded(folder / "data"),
            )

        yield measure


REQUESTS = Axis(
    name="requests",
    label="clients without a model",
    setting=f"completions of no tokens by an echo model, all in one process; {_SECONDS:g} s each",
    places=(1, 2, 4, 8, 16, 32, 64),
    quick=(1, 16),
    open=_requests,
)
