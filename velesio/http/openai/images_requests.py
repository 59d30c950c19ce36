"""Requests of OpenAI's images API: what is to be drawn, changed or varied, as one job."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from velesio.http import media
from velesio.http.fields import Fields, given, of, passed, refuse, refused, unless
from velesio.http.wire import INT_MAX, bad_field, convert, within
from velesio.jobs import Image, Inpaint

MOST_PICTURES = 10
"""Of one request, as OpenAI has it."""
MOST_PARTIAL = 3
MOST_GIVEN = 16
"""Pictures that one request has changed."""

Kind = Literal["image_generation", "image_edit"]
"""As the names of the events begin."""
Format = Literal["png", "jpeg", "webp"]
Quality = Literal["auto", "low", "medium", "high", "standard", "hd"]
File = Annotated[bytes, msgspec.Meta(extra_json_schema={"format": "binary"})]

_STEPS: Mapping[str, int] = {"low": 10, "auto": 20, "medium": 20, "standard": 20, "high": 40, "hd": 40}
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
_SEED_MAX = 2**63 - 1
_CFG_MAX = 1000.0


class _Body(msgspec.Struct):
    model: str = ""
    n: int = 1
    size: str = "auto"
    quality: Quality = "auto"
    negative_prompt: str = ""
    seed: int = -1
    steps: int = 0
    cfg_scale: float = 7.0
    sampler: str = "Euler"
    schedule: str = ""
    output_format: Format = "png"
    output_compression: int = 100


class _Streamed(_Body):
    prompt: str = ""
    stream: bool = False
    partial_images: int = 0


class _Edit(_Streamed):
    strength: float = 0.75


class _Variation(_Body):
    strength: float = 0.5


_NOTES = {
    "model": "a name or alias of `GET /models`; empty: the first that draws",
    "n": f"pictures, 1 to {MOST_PICTURES}",
    "size": "`WIDTHxHEIGHT` in pixels; `auto`: the size that the model was made for",
    "quality": "how many steps, where `steps` does not say it: low 10, medium and standard 20, high and hd 40",
    "negative_prompt": "what is not to be seen",
    "seed": "-1 draws one; picture i has seed + i",
    "steps": "0: as `quality` says",
    "cfg_scale": "how closely the prompt is followed",
    "sampler": "a name that A1111 has, with or without a schedule behind it",
    "schedule": "empty: the sampler's own",
    "output_format": "of the files",
    "output_compression": "how good JPEG and WebP files are, 0 to 100; PNG files lose nothing",
}
_STREAMED = {
    "prompt": "what is to be seen",
    "stream": "pictures as events",
    "partial_images": f"previews of each picture in a stream, at most; 0 to {MOST_PARTIAL}",
}
_REST: Fields = {
    "response_format": refused("addresses of pictures, which nobody keeps here, are", unless("b64_json"),
                               instead="use b64_json", final=True),
    "background": refused("transparent pictures are", unless("auto", "opaque"), instead="use opaque"),
    "moderation": passed("nothing is judged"),
    "style": passed("the prompt says it"),
    "user": passed("nobody is told"),
}  # fmt: skip

_IMAGE = (
    "the picture: a file, PNG, JPEG or WebP; in JSON base64, or `data:image/png;base64,…`, which may also stand in "
    "`images` as OpenAI has it"
)


def _required(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return fields | {name: msgspec.structs.replace(fields[name], required=True, default=msgspec.UNSET)}


GENERATION: Fields = _required(of(_Streamed, **_STREAMED, **_NOTES), "prompt") | dict(_REST)
EDIT: Fields = {
    "image": given(
        File | list[File],
        f"{_IMAGE}. Of several, at most {MOST_GIVEN}, each is changed by itself, in the first one's shape",
    ),
    "images": given(list[dict[str, Any]], 'the same in JSON: `[{"image_url": "data:image/png;base64,…"}]`'),
    "mask": given(
        File,
        "a picture whose transparent part is drawn anew; one without transparency: its black part. None: all is",
    ),
    **_required(of(_Edit, **_STREAMED, **_NOTES, strength="how much is drawn anew, 0 to 1"), "prompt"),
    "input_fidelity": passed("`strength` says it"),
    **_REST,
}
VARIATION: Fields = {
    "image": given(File, _IMAGE),
    **of(_Variation, **_NOTES, strength="how far from the picture, 0 to 1"),
    **_REST,
}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request, read."""

    kind: Kind
    model: str
    params: list[Image]
    """One."""
    quality: Quality
    stream: bool = False
    partial_images: int = 0
    given: int = 1
    """Pictures to be changed, each by itself."""

    @property
    def format(self) -> Format:
        """Of the files."""
        (image,) = self.params
        return image.form

    @property
    def size(self) -> str:
        """As it was asked for."""
        (image,) = self.params
        return f"{image.width}x{image.height}" if image.width else "auto"


def read_generation(raw: Mapping[str, Any]) -> Asked:
    """A picture of a prompt.

    Raises:
        BadRequest: naming the field.
        Unsupported: it asks for something that is not there.
    """
    refuse(raw, GENERATION)
    return _streamed(convert(raw, _Streamed), "image_generation")


def read_edit(raw: Mapping[str, Any]) -> Asked:
    """A picture changed; raises as `read_generation` does."""
    refuse(raw, EDIT)
    pictures = _pictures(raw)
    mask = file_of(raw["mask"], "mask") if "mask" in raw else b""
    body = convert({name: value for name, value in raw.items() if name not in {"image", "images", "mask"}}, _Edit)
    inpaint = Inpaint(mask=mask, invert=True) if mask else None
    asked = _streamed(body, "image_edit", init=pictures[:1], inpaint=inpaint, denoising=_strength(body.strength))
    return asked if len(pictures) == 1 else _for_each(asked, pictures)


def _for_each(asked: Asked, pictures: Sequence[bytes]) -> Asked:
    """The same for each of several pictures, as one job; they stand in their order, and all answers to one together."""
    (image,) = asked.params
    init = tuple(picture for picture in pictures for _ in range(image.batch))
    params = [msgspec.structs.replace(image, init=init, batch=len(init))]
    return msgspec.structs.replace(asked, params=params, given=len(pictures))


def read_variation(raw: Mapping[str, Any]) -> Asked:
    """A picture varied, without a prompt; raises as `read_generation` does."""
    refuse(raw, VARIATION)
    pictures = _pictures(raw)
    if len(pictures) > 1:
        raise bad_field("image", f"has {len(pictures)} pictures; one is varied: send one")
    body = convert({name: value for name, value in raw.items() if name not in {"image", "images"}}, _Variation)
    params = _image(body, "", init=pictures, denoising=_strength(body.strength))
    return Asked(kind="image_edit", model=body.model, params=[params], quality=body.quality)


def _streamed(body: _Streamed, kind: Kind, **fields: Any) -> Asked:
    if not body.prompt.strip():
        raise bad_field("prompt", "is required: say what is to be seen")
    partial = within("partial_images", body.partial_images, 0, MOST_PARTIAL)
    image = _image(body, body.prompt, **fields)
    every = preview_every(image, partial)
    return Asked(
        kind=kind,
        model=body.model,
        params=[msgspec.structs.replace(image, preview_every=every)],
        quality=body.quality,
        stream=body.stream,
        partial_images=partial,
    )


def preview_every(image: Image, wanted: int) -> int:
    """Steps between previews, so that at most `wanted` come before the picture itself; 0: none."""
    if not wanted:
        return 0
    steps = image.steps if not image.init else int(image.steps * image.denoising)
    return max(1, -(-steps // (wanted + 1)))


def _image(body: _Body, prompt: str, **fields: Any) -> Image:
    width, height = size_of(body.size)
    if not 0 <= body.cfg_scale <= _CFG_MAX:
        raise bad_field("cfg_scale", f"expected a number from 0 to {_CFG_MAX:g}")
    return Image(
        prompt=prompt,
        negative_prompt=body.negative_prompt,
        width=width,
        height=height,
        steps=within("steps", body.steps, 0, INT_MAX) or _STEPS[body.quality],
        seed=within("seed", body.seed, -1, _SEED_MAX),
        cfg=body.cfg_scale,
        sampler=body.sampler,
        schedule=body.schedule,
        batch=within("n", body.n, 1, MOST_PICTURES),
        form=body.output_format,
        quality=within("output_compression", body.output_compression, 0, 100),
        **fields,
    )


def size_of(text: str) -> tuple[int, int]:
    """Width and height; both 0: left to the model.

    Raises:
        BadRequest: it is no size.
    """
    if text in {"auto", ""}:
        return 0, 0
    match = _SIZE.fullmatch(text)
    if match is None:
        raise bad_field("size", f"expected WIDTHxHEIGHT in pixels, like 512x512, or auto, but got {text[:40]!r}")
    return int(match[1]), int(match[2])


def _strength(value: float) -> float:
    if not 0 <= value <= 1:
        raise bad_field("strength", "expected a number from 0 to 1")
    return value


def _pictures(raw: Mapping[str, Any]) -> tuple[bytes, ...]:
    """The pictures to begin with, one or more."""
    name = "image" if "image" in raw else "images"
    found = raw.get(name)
    if not found:
        raise bad_field("image", "is required: a picture file")
    if not isinstance(found, list):
        return (file_of(found, name),)
    if len(found) > MOST_GIVEN:
        raise bad_field(name, f"has {len(found)} pictures; at most {MOST_GIVEN} are changed at once")
    return tuple(file_of(each, f"{name}[{index}]") for index, each in enumerate(found))


def file_of(value: Any, path: str) -> bytes:
    """The bytes of a picture file, however they are said.

    Raises:
        BadRequest: they are not, or are somewhere else.
    """
    if isinstance(value, dict):
        if "image_url" not in value:
            raise bad_field(path, "expected image_url with a data: address; files are not kept here, so none has an id")
        value, path = value["image_url"], f"{path}.image_url"
        if isinstance(value, dict):
            value, path = value.get("url"), f"{path}.url"
    if isinstance(value, bytes):
        if not value:
            raise bad_field(path, "is empty")
        return value
    if isinstance(value, str) and ":" in value[:16]:
        return media.file_of(value, path)
    return media.decoded(value, path)
