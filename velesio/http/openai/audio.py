"""OpenAI's speech routes: none of them is served, and each says so."""

from aiohttp import web

from velesio.errors import Unsupported
from velesio.http.operations import OF_EVERY_ROUTE, Operation

_PATHS = tuple(f"{root}/audio/{what}" for what in ("transcriptions", "translations", "speech") for root in ("/v1", ""))


async def audio(_request: web.Request) -> web.Response:
    """`POST /v1/audio/…`.

    Raises:
        Unsupported: always.
    """
    raise Unsupported(
        "no model here transcribes or speaks; a chat takes sounds as `input_audio`, where its model hears (GET /props)"
    )


ROUTES = [web.post(path, audio) for path in _PATHS]

API = (
    Operation(
        method="POST",
        paths=_PATHS,
        summary="501: no model here transcribes or speaks. Chats take sounds as `input_audio`, where the model hears.",
        body="multipart/form-data",
        statuses=(501,),
        errors=(*OF_EVERY_ROUTE, Unsupported),
    ),
)
