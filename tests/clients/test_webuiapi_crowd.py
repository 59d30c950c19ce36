"""Eight webuiapi clients with a key each at one server: none sees or stops what is another's."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import webuiapi

from tests.clients.drawing import drawing
from tests.end_to_end.process import Server

CLIENTS = 8
STOPPED = (2, 5)
KEYS = [f"key-{number}-0123456789abcdef" for number in range(CLIENTS)]
SIZE: dict[str, Any] = {"prompt": "a fox", "width": 64, "height": 64}


@pytest.fixture(scope="module")
def painting() -> Iterator[Server]:
    """A server that serves eight keys."""
    keys = ", ".join(f'{{name="client{number}", token="{token}"}}' for number, token in enumerate(KEYS))
    with drawing("backends.diffusion.native=64", f"keys=[{keys}]") as server:
        yield server


class Client:
    """One of them, which asks for pictures of its own, with a number of steps by which they are known, and looks at
    its progress all the while."""

    def __init__(self, number: int, port: int) -> None:
        self.number = number
        self.api = webuiapi.WebUIApi("127.0.0.1", port, sampler="Euler", username="me", password=KEYS[number])
        self.stops = number in STOPPED
        steps = 140 + number if self.stops else 20 + number
        self.asked = SIZE | {"steps": steps, "seed": 100 * number, "n_iter": 20 if self.stops else 3}
        self.seen: list[dict[str, Any]] = []
        self.result: Any = None

    def run(self) -> None:
        """Asks, looks, and stops as soon as it has seen that it is drawn, if it is to."""
        asking = threading.Thread(target=self._ask)
        asking.start()
        stopped = False
        while asking.is_alive():
            self.seen.append(self.api.get_progress())
            if self.stops and not stopped and self.seen[-1]["progress"] > 0:
                self.api.interrupt()
                stopped = True
        asking.join()

    def _ask(self) -> None:
        self.result = self.api.txt2img(**self.asked)


def pixels(image: Any) -> Any:
    return np.asarray(image.convert("RGB")).astype(int)


def test_eight_clients_at_once(painting: Server) -> None:
    """Each sees its own steps or nothing; two stop theirs, and six get the pictures that they get alone."""
    port = int(painting.url.rpartition(":")[2])
    clients = [Client(number, port) for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    for client in clients:
        states = [each["state"] for each in client.seen]
        assert {state["sampling_steps"] for state in states} <= {0, client.asked["steps"]}
        assert {state["job_count"] for state in states} <= {0, client.asked["n_iter"]}
        seeds = client.result.info["all_seeds"]
        assert seeds == [client.asked["seed"] + index for index in range(client.asked["n_iter"])]
        if client.stops:
            assert any(state["job_count"] for state in states)
            assert len(client.result.images) < client.asked["n_iter"]
            continue
        assert len(client.result.images) == 3
        alone = client.api.txt2img(**(client.asked | {"n_iter": 1}))
        assert np.abs(pixels(client.result.images[0]) - pixels(alone.image)).max() <= 1
    firsts = [pixels(client.result.images[0]) for client in clients if not client.stops]
    assert all(np.abs(one - other).max() > 1 for i, one in enumerate(firsts) for other in firsts[:i])
