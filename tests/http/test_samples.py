"""The captured answers of llama.cpp's server that no other test of this folder compares; and none is forgotten."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.http.conftest import Site, events_of, sample
from tests.http.likeness import differences, json_of
from velesio.errors import BadRequest, Unsupported, VelesioError
from velesio.http.families import NATIVE
from velesio.http.llamacpp.completion import Frames, Writer, read
from velesio.jobs import Completed, Delta, Event, InForce, Progress, Started, TextResult, Timings, TokenProbs, Usage

HERE = Path(__file__).parent
HELLO = {"prompt": "Hello", "n_predict": 1, "n_probs": 2}


def streamed(raw: dict[str, Any], *events: Event) -> list[bytes]:
    frames = Frames(Writer(read(raw | {"stream": True}), "smollm2"))
    return events_of(b"".join([*(frame for event in events for frame in frames.frames(0, event)), *frames.end()]))


def one_of(shown: dict[str, Any], measure: str) -> TokenProbs:
    """What a worker sends for a captured token."""

    def piece(each: dict[str, Any]) -> tuple[int, bytes, float]:
        return each["id"], bytes(each["bytes"]), each[measure]

    return TokenProbs(*piece(shown), tuple(piece(rival) for rival in shown[f"top_{measure}s"]))


def test_probabilities() -> None:
    """At the end of a whole answer."""
    captured = json.loads(sample("completion_probs"))
    probs = one_of(captured["completion_probabilities"][0], "logprob")
    result = TextResult(
        "-", (29,), stop="limit", usage=Usage(1, 1), timings=Timings(7.629, 0.001), slot=1, probs=(probs,)
    )
    ours = Writer(read(HELLO | {"temperature": 0, "return_tokens": True}), "smollm2").whole(0, result)
    assert not differences(json_of(ours), sample("completion_probs"))


def test_streamed_probabilities() -> None:
    """With each piece, after the samplers; none at the end."""
    captured = events_of(sample("completion_postprobs"))
    probs = one_of(json.loads(captured[0])["completion_probabilities"][0], "prob")
    result = TextResult(" and", stop="limit", usage=Usage(1, 1), timings=Timings(7.439, 0.001), slot=1, probs=(probs,))
    raw = HELLO | {"seed": 1, "post_sampling_probs": True}
    ours = streamed(raw, Started(1), Delta(" and", (284,), 1, (probs,)), Completed(result))
    assert len(ours) == len(captured)
    assert not [each for one, two in zip(ours, captured, strict=True) for each in differences(one, two)]


def test_progress() -> None:
    """Before the first piece: an empty one for each step, with the token 0; times are our own."""
    captured = events_of(sample("completion_progress"))
    result = TextResult(".", stop="limit", usage=Usage(4, 1), timings=Timings(18.434, 0.001), slot=1)
    ours = streamed(
        {"prompt": "Hello there my friend", "n_predict": 1, "return_progress": True, "timings_per_token": True},
        Started(4),
        Progress(0, 4),
        Progress(4, 4, 0, 18.041),
        Delta(".", (30,), 1),
        Completed(result),
    )
    free = frozenset({"prompt_ms", "prompt_per_token_ms", "prompt_per_second", "predicted_ms"})
    assert len(ours) == len(captured)
    assert not [each for one, two in zip(ours, captured, strict=True) for each in differences(one, two, free=free)]


@pytest.mark.parametrize("made", ["root ::= [0-9]\n", ""])
def test_a_schema(made: str) -> None:
    """Its grammar is the worker's own; where it tells of none, the schema stands as a comment of one."""
    captured = json.loads(sample("completion_schema"))
    raw = {"prompt": "x", "n_predict": 20, "temperature": 0, "json_schema": {"properties": {"a": {"type": "integer"}}}}
    usage, timings = Usage(1, 20), Timings(18.975, 185.813)
    result = TextResult(captured["content"], stop="limit", usage=usage, timings=timings, slot=1, in_force=InForce(made))
    ours = Writer(read(raw), "smollm2").whole(0, result)
    assert not differences(json_of(ours), sample("completion_schema"), free=frozenset({"grammar"}))
    grammar = ours["generation_settings"]["grammar"]
    assert grammar == made if made else grammar.startswith("# ")


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("completion_badgrammar", BadRequest("Failed to initialize samplers: failed to parse grammar")),
        ("err_noprompt", BadRequest("x")),
        ("err_embed", Unsupported("x")),
        ("err_infill", Unsupported("x")),
        ("err_rerank", Unsupported("x")),
    ],
)
def test_refusals(name: str, error: VelesioError) -> None:
    """Keys and all that is no sentence."""
    assert not differences(json_of(NATIVE.body(error)), sample(name), free=frozenset({"message"}))


async def test_refusals_over_the_wire(site: Site) -> None:
    """Status and type are the captured ones; JSON that is none is the client's fault here, as its tests allow."""
    for path, body, name in (
        ("/completion", {"n_predict": 1}, "err_noprompt"),
        ("/completion", {"model": "tiny", "prompt": "word " * 20}, "err_ctx"),
        ("/nothing", {}, "err_404"),
        ("/infill", {"input_prefix": "a", "input_suffix": "b"}, "err_infill"),
    ):
        answer, captured = await site.post(path, body), json.loads(sample(name))["error"]
        error = answer.json()["error"]
        assert (answer.status, error["code"], error["type"]) == (captured["code"], captured["code"], captured["type"])
        assert error.keys() == captured.keys()
    assert (
        json.loads(sample("err_badjson"))["error"].keys()
        == (await site.post("/completion", b"{x")).json()["error"].keys()
    )


async def test_metrics(site: Site) -> None:
    """Every name and kind of the captured page is there."""
    page = (await site.get("/metrics?model=parrot")).body

    def kinds(text: bytes) -> list[tuple[bytes, bytes]]:
        return re.findall(rb"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)

    captured = kinds(sample("metrics"))
    assert len(captured) > 10
    assert set(captured) <= set(kinds(page))


def test_no_sample_is_forgotten() -> None:
    """Each is named by a test of this folder or below."""
    tests = "".join(path.read_text(encoding="utf-8") for path in HERE.rglob("test_*.py"))
    named = set(re.findall(r'"(\w+)"', tests))
    assert not {path.stem for path in HERE.glob("samples/*.http")} - named
