"""Pictures through the whole server: a tiny model with random weights, whose answers depend on what it is shown."""

import base64
import json
from pathlib import Path
from typing import Any

from tests.backends.llama import tiny
from tests.backends.llama.seen import BLUE, PICTURE, RED, TEMPLATE
from tests.end_to_end.process import Start


def chat(model: str, *pictures: bytes) -> dict[str, Any]:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + base64.b64encode(picture).decode()}}
        for picture in pictures
    ]
    message = {"role": "user", "content": [*parts, {"type": "text", "text": "What is it?"}]}
    return {"model": model, "messages": [message], "temperature": 0, "max_tokens": 12, "ignore_eos": True}


def test_openais_and_llamacpps_clients_show_pictures(start: Start, folder: Path) -> None:
    """Both families bring them; the tokens are counted, the answer depends on the picture, and a model without a
    projector refuses."""
    tiny.decoder(folder / "eyes.gguf", text={"tokenizer.chat_template": TEMPLATE})
    tiny.projector(folder / "mmproj.gguf")
    server = start(
        "all",
        f"server.models_dir={folder}",
        'models=[{name="eyes", path="eyes.gguf", mmproj="mmproj.gguf", context=256, aliases=["sight"]}, '
        '{name="blind", path="eyes.gguf", context=256}]',
    ).ready()
    assert json.loads(server.get("/props?model=eyes")[1])["modalities"]["vision"] is True
    answers = []
    for pictures in ((RED,), (BLUE,), (RED,), ()):
        status, answer = server.post("/v1/chat/completions", chat("sight", *pictures))
        assert status == 200, answer
        answers.append((answer["choices"][0]["message"]["content"], answer["usage"]["prompt_tokens"]))
    red, blue, again, none = answers
    assert red == again
    assert len({red[0], blue[0], none[0]}) == 3
    assert red[1] == none[1] + PICTURE
    native = {
        "model": "eyes",
        "prompt": {"prompt_string": "<__media__> what?", "multimodal_data": [base64.b64encode(RED).decode()]},
        "n_predict": 4,
    }
    status, answer = server.post("/completion", native)
    assert (status, answer["tokens_evaluated"]) == (200, 1 + PICTURE + len(" what?"))
    status, answer = server.post("/v1/chat/completions", chat("blind", RED))
    assert (status, "cannot see pictures" in answer["error"]["message"]) == (501, True)
