"""What OpenAI's routes have in common: how answers are called, how streams end, how one request is answered."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from aiohttp import web

from velesio.errors import VelesioError
from velesio.http import sse
from velesio.http.dispatch import jobs_of
from velesio.http.families import OPENAI
from velesio.http.finding import find_model
from velesio.http.idempotency import answers_to
from velesio.http.text.generation import Generation
from velesio.http.text.usage import FINGERPRINT, timings_of, usage_of
from velesio.http.wire import answer_id, encode, json_response
from velesio.jobs import Event, Params, TextResult, born, new_id


class Asked(Protocol):
    """A request, read."""

    @property
    def generation(self) -> Generation:
        """How to answer."""

    @property
    def params(self) -> Sequence[Params]:
        """A job's each."""


_A = TypeVar("_A", bound=Asked)


class Writer:
    """What the chunks and answers of one request have in common."""

    prefix: str
    object: str

    def __init__(self, asked: Asked, model: str, job_id: str = "") -> None:
        """`job_id` is that of the (first) job that answers; the answer is called after it."""
        job_id = job_id or new_id()
        self.generation = asked.generation
        self.model = model
        self.id = answer_id(self.prefix, job_id)
        self.created = int(born(job_id))

    def whole(self, results: Sequence[TextResult]) -> dict[str, Any]:
        """The answer without streaming."""
        whole = {
            "choices": [self.choice(index, result) for index, result in enumerate(results)],
            "created": self.created,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
            "object": self.object,
            "usage": usage_of(results, self.generation.choices),
            "id": self.id,
        }
        if self.generation.verbose:
            whole["__verbose"] = self.verbose(results[0])
        return whole | {"timings": timings_of(results[-1].usage, results[-1].timings)}

    def verbose(self, result: TextResult, index: int = 0) -> dict[str, Any]:
        """One of the answers in llama.cpp's own shape."""
        raise NotImplementedError

    def choice(self, index: int, result: TextResult) -> dict[str, Any]:
        """One of the answers."""
        raise NotImplementedError


class Frames:
    """What the streams have in common: comments as pings, an error object, `[DONE]`."""

    one_by_one = False

    def ping(self) -> bytes:
        """A comment."""
        return sse.COMMENT

    def failure(self, error: VelesioError) -> list[bytes]:
        """The error as a chunk, at which the SDKs raise."""
        return [sse.event(encode(OPENAI.body(error))), sse.DONE]


async def answer(
    request: web.Request,
    asked: _A,
    whole: Callable[[_A, str, str, Sequence[TextResult]], Any],
    frames: Callable[[_A, str, str], sse.Framing[Event]],
) -> web.StreamResponse:
    """The answer to one request: what `whole` makes of the results, or a stream; both are told what was asked, the
    model's name and the id of the (first) job."""
    generation = asked.generation
    card = await find_model(request, generation.model, "text")
    jobs = jobs_of(request, card.name, asked.params, stream=generation.stream)
    async with answers_to(request, jobs) as answers:
        if generation.stream:
            framing = frames(asked, card.name, answers.ids[0])
            await answers.begin()
            return await sse.respond(request, answers, framing, generation.ping_interval)
        results = await answers.texts()
    return json_response(whole(asked, card.name, answers.ids[0], results))
