"""Growth of pictures' cost: sides of a picture, alone and four at a time, through one server."""

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benches import memory
from benches.growth_record import Axis, Measured
from benches.text_servers import Contestant, Machine, running, velesio_images

STEPS = 20
_TOGETHER = 4
_LONGEST = 300.0
_LARGEST_TOGETHER = 256
"""Pixels a side: four larger ones take minutes on two cores."""


@contextlib.contextmanager
def _sizes(folder: Path) -> Iterator[Callable[[int], Measured]]:
    contestant = Contestant(name="velesio", command=velesio_images, health="/readyz")
    with running(contestant, Machine(model="", threads=0), folder) as server, ThreadPoolExecutor(_TOGETHER) as clients:
        _draw(server.port, 64, 0)  # loads the checkpoint

        def measure(side: int) -> Measured:
            began = time.perf_counter()
            _draw(server.port, side, 1)
            figures = {"one_s": time.perf_counter() - began}
            if side <= _LARGEST_TOGETHER:
                began = time.perf_counter()
                list(clients.map(lambda seed: _draw(server.port, side, seed), range(2, 2 + _TOGETHER)))
                figures["four_s"] = time.perf_counter() - began
            return Measured(
                figures={name: round(value, 3) for name, value in figures.items()},
                memory_mib=server.memory() | {"peak": server.peak()},
                broker_mib=memory.used_by_embedded(folder / "data"),
            )

        yield measure


def _draw(port: int, side: int, seed: int) -> None:
    """One picture by A1111's route."""
    asked = {"prompt": f"a red star, number {seed}", "width": side, "height": side, "steps": STEPS, "seed": seed}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_LONGEST)
    with contextlib.closing(connection):
        connection.request("POST", "/sdapi/v1/txt2img", json.dumps(asked | {"sampler_name": "Euler"}))
        answer = connection.getresponse()
        said = answer.read()
        if answer.status != 200 or not json.loads(said)["images"]:
            raise RuntimeError(f"a picture of {side} pixels: status {answer.status}: {said[:300]!r}")


SIZES = Axis(
    name="pictures",
    label="pixels a side",
    setting=f"{STEPS} steps of Euler with the demo checkpoint, drawn at the size asked for",
    places=(64, 128, 192, 256, 384, 512),
    quick=(64,),
    open=_sizes,
)
