"""Fetching: pictures that requests name by their address, from the hosts that the operator allows and no others.

Each address, and each that it redirects to, must be allowed; the connection goes to an address that was checked
(`outbound`). What comes is bounded in bytes and time and must be a picture. It takes the address's place in the body as
a `data:` address, so that everything behind this sees requests that bring their pictures along.
"""

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from velesio.config import FetchSection
from velesio.errors import BadRequest, Forbidden
from velesio.http.addresses import allowed
from velesio.http.outbound import Outbound, public_reason
from velesio.pictures.pixels import PICTURES

OPTION = "fetch.hosts"
MOST = 16
"""Addresses in one request."""
_KINDS = {"image_url": "image_url", "input_image": "image_url", "url": "url"}
"""Type of a part or source → where its address is."""
_PICTURES = frozenset(
    {
        "image", "images", "image_url", "url", "mask", "mask_image", "init_images", "input_image",
        "controlnet_input_images", "controlnet_images", "controlnet_masks",
    }
)  # fmt: skip
"""Fields of requests for pictures in which one stands, or several."""
_INNER: Mapping[Any, frozenset[str]] = {"imageList": frozenset({"data"})}
"""Fields of objects that stand in a field."""
_ROUTES = ("/sdapi/", "/v1/images/")
"""How routes that read such requests begin, as background jobs name them."""
_DEEPEST = 12


class Slot:
    """A place in a body where an address stands."""

    def __init__(self, holder: Any, name: str | int, path: str) -> None:
        self.holder = holder
        self.name = name
        self.path = path

    @property
    def address(self) -> str:
        """What stands there."""
        return str(self.holder[self.name])

    def put(self, data: bytes) -> None:
        """A picture in its place."""
        encoded = base64.b64encode(data).decode()
        if isinstance(self.holder, dict) and self.holder.get("type") == "url":  # Anthropic's source
            self.holder.pop(self.name)
            self.holder |= {"type": "base64", "media_type": f"image/{kind_of(data)}", "data": encoded}
        else:
            self.holder[self.name] = f"data:image/{kind_of(data)};base64,{encoded}"


def slots_of(value: Any, path: str = "", depth: int = 0) -> Iterator[Slot]:
    """The places of a body where a picture's address stands that would have to be fetched."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from slots_of(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, dict):
        kind = value.get("type")
        name = _KINDS.get(kind) if isinstance(kind, str) else None
        if name is not None:
            yield from _slot(value, name, f"{path}.{name}")
        for key, item in value.items():
            yield from slots_of(item, f"{path}.{key}".removeprefix("."), depth + 1)


def _slot(part: dict[str, Any], name: str, path: str) -> Iterator[Slot]:
    found = part.get(name)
    if isinstance(found, dict):
        part, name, found, path = found, "url", found.get("url"), f"{path}.url"
    if isinstance(found, str) and _is_address(found):
        yield Slot(part, name, path)


def drawn_slots(
    value: Any, path: str = "", *, named: bool = False, names: frozenset[str] = _PICTURES, depth: int = 0
) -> Iterator[Slot]:
    """As `slots_of`, in requests for pictures: A1111's, ControlNet's units, OpenAI's edits. `named`: whether `value`
    stands in a field that holds pictures."""
    if depth > _DEEPEST:
        return
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        inside = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}".removeprefix(".")
        here = named if isinstance(key, int) else key in names
        if isinstance(item, str):
            if here and _is_address(item):
                yield Slot(value, key, inside)
        else:
            yield from drawn_slots(item, inside, named=here, names=_INNER.get(key, names), depth=depth + 1)


def _is_address(text: str) -> bool:
    return text[:8].lower().startswith(("http://", "https://"))


def every_slot(raw: dict[str, Any]) -> Iterator[Slot]:
    """Those of a request that is no request for pictures, unless it has one that is to be done in the background."""
    if str(raw.get("url", "")).startswith(_ROUTES):
        yield from drawn_slots(raw.get("body"), "body")
    else:
        yield from slots_of(raw)


def kind_of(data: bytes) -> str:
    """png, jpeg, gif, webp or bmp; empty: it is no picture that is known here."""
    return next((kind for kind, sign, place in PICTURES if data.startswith(sign, place)), "")


Find = Callable[[dict[str, Any]], Iterator[Slot]]


class Fetcher:
    """Fetches pictures for one gateway."""

    def __init__(self, section: FetchSection) -> None:
        self._section = section
        self._out = Outbound(private=section.private, timeout=section.timeout)

    async def close(self) -> None:
        """End what is under way."""
        await self._out.close()

    async def inline(self, raw: dict[str, Any], slots_of: Find = every_slot) -> bool:
        """Put pictures in the place of their addresses, in `raw` itself; False: there are none, or nothing is fetched
        here, so that whoever reads the body refuses them.

        Raises:
            BadRequest: naming the field, and why its picture cannot be had.
        """
        slots = list(slots_of(raw)) if self._section.hosts else []
        if len(slots) > MOST:
            raise BadRequest(f"the request names {len(slots)} pictures by address; at most {MOST} are fetched")
        left = self._section.max_bytes
        for slot in slots:
            data = await self._fetch(slot, left)
            left -= len(data)
            slot.put(data)
        return bool(slots)

    async def _fetch(self, slot: Slot, left: int) -> bytes:
        address = slot.address
        try:
            for _ in range(self._section.redirects + 1):
                url = allowed(address, self._section.hosts, private=self._section.private, option=OPTION)
                async with self._out.ask("GET", url, headers={"Accept": "image/*"}) as response:
                    if response.status not in {301, 302, 303, 307, 308}:
                        return _checked(await self._body(response, left), slot)
                    address = str(url.join(_location(response)))
        except Forbidden as error:
            raise _refused(slot, error.message) from None
        except (OSError, TimeoutError, aiohttp.ClientError, ValueError, IndexError) as error:
            raise _refused(slot, f"cannot be fetched: {public_reason(error)}") from None
        raise _refused(slot, f"cannot be fetched: it redirects more than {self._section.redirects} times")

    async def _body(self, response: aiohttp.ClientResponse, left: int) -> bytes:
        if response.status != 200:
            raise Forbidden(f"cannot be fetched: the answer is {response.status}")
        data = bytearray()
        async for chunk in response.content.iter_any():
            data += chunk
            if len(data) > left:
                raise Forbidden(f"is too large: {self._section.max_bytes} bytes of all are fetched (fetch.max_bytes)")
        return bytes(data)


def _location(response: aiohttp.ClientResponse) -> URL:
    return URL(response.headers.get(hdrs.LOCATION, ""))


def _checked(data: bytes, slot: Slot) -> bytes:
    if not kind_of(data):
        raise _refused(slot, "cannot be used: what is there is no picture")
    return data


def _refused(slot: Slot, why: str) -> BadRequest:
    return BadRequest(f"Field '{slot.path}': {why}", param=slot.path)


FETCHER = web.AppKey("fetcher", Fetcher)
