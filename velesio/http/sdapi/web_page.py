"""Routes that A1111's web page has beside the API, for clients that ask them.

Who answers, what it is made of, cards of models; and those of its API that are refused: training, and stopping the
server.
"""

import html
import platform
import secrets
import time
from typing import Any, NoReturn

from aiohttp import web

from velesio import __version__
from velesio.errors import NotFound, Unsupported
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.sdapi.defaults import DEFAULTS
from velesio.http.sdapi.drawing import image_cards
from velesio.http.sdapi.options import HONOURED
from velesio.http.wire import json_response

_APP = secrets.randbits(53)
"""A number that is another one for each start, by which web pages know that the server was restarted."""
_BEGAN = time.monotonic()
_PAGES = {"checkpoints": "", "lora": "loras", "textual inversion": "embeddings"}
"""Lists of model cards by the names of A1111's pages; empty: the cards themselves."""


async def app_id(request: web.Request) -> web.Response:  # noqa: ARG001
    """`GET /app_id`."""
    return json_response({"app_id": _APP})


async def info(request: web.Request) -> web.Response:  # noqa: ARG001
    """`GET /info`: what may be called of a web page that is not here."""
    return json_response({"named_endpoints": {}, "unnamed_endpoints": {}})


async def config(request: web.Request) -> web.Response:  # noqa: ARG001
    """`GET /config`: the same page's parts."""
    return json_response(_config())


def _config() -> dict[str, Any]:
    return {
        "version": __version__, "app_id": _APP, "mode": "blocks", "title": "Velesio", "is_space": False,
        "enable_queue": False, "show_api": True, "components": [], "layout": {"id": 0, "children": []},
        "dependencies": [],
    }  # fmt: skip


async def sysinfo(request: web.Request) -> web.Response:
    """`GET /internal/sysinfo` and `sysinfo-download`: no paths, names, keys or requests."""
    cards = image_cards(request)
    return json_response(
        {
            "Platform": platform.platform(),
            "Python": platform.python_version(),
            "Version": f"velesio v{__version__}",
            "Commit": None,
            "Checkpoints": len(cards),
            "Extensions": [],
        }
    )


async def quicksettings(request: web.Request) -> web.Response:  # noqa: ARG001
    """`GET /internal/quicksettings-hint`: names of options."""
    return json_response(_hints())


def _hints() -> list[dict[str, str]]:
    return [{"name": name, "label": HONOURED[name].note if name in HONOURED else name} for name in DEFAULTS]


async def startup(request: web.Request) -> web.Response:  # noqa: ARG001
    """`GET /internal/profile-startup`: when this process began, not what it did."""
    return json_response({"total": 0.0, "records": {}, "uptime": round(time.monotonic() - _BEGAN, 3)})


def _names(request: web.Request, page: str) -> list[str]:
    """What a page shows.

    Raises:
        NotFound: there is no such page.
    """
    kind = _PAGES.get(page.lower().replace("_", " "))
    if kind is None:
        raise UnknownCard(f"there is no page {page!r}; there are {', '.join(_PAGES)}")
    cards = image_cards(request)
    return [str(name) for card in cards for name in card.meta.get(kind, ())] if kind else [each.name for each in cards]


class UnknownCard(NotFound):
    """There is no such card."""


async def metadata(request: web.Request) -> web.Response:
    """`GET /sd_extra_networks/metadata`: workers keep what files say to themselves."""
    _known(request)
    return json_response({})


async def single_card(request: web.Request) -> web.Response:
    """`GET /sd_extra_networks/get-single-card`."""
    return json_response({"html": _card(_known(request))})


def _card(name: str) -> str:
    return f'<div class="card" data-name="{html.escape(name)}"><span class="name">{html.escape(name)}</span></div>'


def _known(request: web.Request) -> str:
    page, name = request.query.get("page", ""), request.query.get("name") or request.query.get("item") or ""
    if name not in _names(request, page):
        raise UnknownCard(f"there is no {name!r} on the page {page!r}")
    return name


async def picture_of_card(request: web.Request) -> NoReturn:  # noqa: ARG001
    """`GET /sd_extra_networks/thumb` and `cover-images`."""
    raise UnknownCard("models have no pictures here")


async def train(request: web.Request) -> NoReturn:
    """`POST /sdapi/v1/create/…` and `train/…`."""
    raise Unsupported(
        f"{request.path.rpartition('/')[2]}s are not trained here: make the file elsewhere and put it into models_dir"
    )


async def stop(request: web.Request) -> NoReturn:  # noqa: ARG001
    """`POST /sdapi/v1/server-…`."""
    raise Unsupported(
        "the server is not stopped over A1111's API; its operator stops it with a signal, and drains workers with "
        "`velesio workers drain`"
    )


_TRAINING = tuple(f"/sdapi/v1/{what}/{kind}" for what in ("create", "train") for kind in ("embedding", "hypernetwork"))
_STOPS = tuple(f"/sdapi/v1/server-{how}" for how in ("kill", "restart", "stop"))
_SYSINFO = ("/internal/sysinfo", "/internal/sysinfo-download")
_PICTURES = ("/sd_extra_networks/thumb", "/sd_extra_networks/cover-images")

ROUTES = [
    web.get("/app_id", app_id),
    web.get("/info", info),
    web.get("/config", config),
    *(web.get(path, sysinfo) for path in _SYSINFO),
    web.get("/internal/quicksettings-hint", quicksettings),
    web.get("/internal/profile-startup", startup),
    web.get("/sd_extra_networks/metadata", metadata),
    web.get("/sd_extra_networks/get-single-card", single_card),
    *(web.get(path, picture_of_card) for path in _PICTURES),
    *(web.post(path, train) for path in _TRAINING),
    *(web.post(path, stop) for path in _STOPS),
]

_CARD_QUERY = {"page": f"one of {', '.join(_PAGES)}", "name": "of a file"}


def _told(path: str, summary: str, answer: Any) -> Operation:
    return Operation(
        method="GET", paths=(path,), summary=summary, answer=lambda: answer, answers=Any, errors=OF_EVERY_ROUTE
    )


API = (
    _told("/app_id", "A number that each start of the server has of its own.", {"app_id": 1}),
    _told("/info", "What may be called of A1111's web page, which is not here.",
          {"named_endpoints": {}, "unnamed_endpoints": {}}),
    _told("/config", "The parts of that page: none.", _config() | {"version": "0", "app_id": 1}),
    Operation(
        method="GET",
        paths=_SYSINFO,
        summary="What the server runs on; no paths, keys or requests.",
        answers=Any,
        errors=OF_EVERY_ROUTE,
    ),
    _told("/internal/quicksettings-hint", "Names of options, with notes of those that count.", _hints()[:2]),
    _told("/internal/profile-startup", "Seconds for which the server runs.",
          {"total": 0.0, "records": {}, "uptime": 12.5}),
    Operation(
        method="GET",
        paths=("/sd_extra_networks/metadata",),
        summary="Nothing: what files say of themselves is known to the workers alone.",
        query=_CARD_QUERY,
        answer=dict,
        errors=(*OF_EVERY_ROUTE, UnknownCard),
    ),
    Operation(
        method="GET",
        paths=("/sd_extra_networks/get-single-card",),
        summary="The card of a model, a LoRA or an embedding, for A1111's web page.",
        query=_CARD_QUERY,
        answer=lambda: {"html": _card("ink")},
        errors=(*OF_EVERY_ROUTE, UnknownCard),
    ),
    Operation(
        method="GET",
        paths=_PICTURES,
        summary="Refused: models have no pictures.",
        statuses=(404,),
        errors=(*OF_EVERY_ROUTE, UnknownCard),
    ),
    Operation(
        method="POST",
        paths=_TRAINING,
        summary="Refused: nothing is trained.",
        statuses=(501,),
        errors=(*OF_EVERY_ROUTE, Unsupported),
    ),
    Operation(
        method="POST",
        paths=_STOPS,
        summary="Refused: clients do not stop the server.",
        statuses=(501,),
        errors=(*OF_EVERY_ROUTE, Unsupported),
    ),
)  # fmt: skip
