"""Scripts of A1111 that change how a given picture is drawn: outpainting, loopback, SD upscale.

What their arguments, which come by place, ask of a job.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from velesio.errors import Unprocessable, Unsupported
from velesio.jobs import Loopback, Mosaic, Outpaint

OUTPAINTING, MK2 = "poor man's outpainting", "outpainting mk2"
LOOPBACK, UPSCALE = "loopback", "sd upscale"
_SIDES = ("left", "right", "up", "down")
_CONTENTS: tuple[Literal["fill", "original", "noise", "nothing"], ...] = ("fill", "original", "noise", "nothing")
_UPSCALERS = ("None", "Lanczos", "Nearest")
_CURVES: tuple[Literal["linear", "aggressive", "lazy"], ...] = ("linear", "aggressive", "lazy")


def fields(script: str, args: Sequence[Any]) -> dict[str, Any]:
    """The fields of a job that a script sets; none for any other script.

    Raises:
        Unprocessable: its arguments cannot be read.
        Unsupported: it wants pictures described.
    """
    read = _READERS.get(script)
    return {} if read is None else read(args)


def _placed(args: Sequence[Any], *defaults: Any) -> list[Any]:
    """The arguments, with defaults for those that are missing at the end."""
    return [*args, *defaults[len(args) :]][: len(defaults)]


def _number(value: Any, name: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Unprocessable(f"script_args: {name} is {value!r}; expected {low:g} to {high:g}", param="script_args")
    return value


def _sides(value: Any, pixels: Any) -> dict[str, int]:
    sides = [str(each).lower() for each in value] if isinstance(value, list) else []
    if not sides or not set(sides) <= set(_SIDES):
        raise Unprocessable(f"script_args: directions are of {', '.join(_SIDES)}", param="script_args")
    return dict.fromkeys(sides, int(_number(pixels, "pixels", 1, 4096)))


def _of(words: Sequence[Any], value: Any, name: str) -> Any:
    """One of some words, by itself in any case or by its place."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(words):
        return words[value]
    found = next((word for word in words if word.lower() == str(value).lower()), None)
    if found is None:
        raise Unprocessable(f"script_args: {name} is {value!r}; there is {', '.join(words)}", param="script_args")
    return found


def _outpainting(args: Sequence[Any]) -> dict[str, Any]:
    pixels, blur, content, directions = _placed(args, 128, 4, 0, list(_SIDES))
    if content not in range(len(_CONTENTS)):
        raise Unprocessable(f"script_args: fill is {content!r}; expected 0 to 3", param="script_args")
    sides = _sides(directions, pixels)
    found = Outpaint(**sides, blur=float(_number(blur, "mask_blur", 0, 64)), content=_CONTENTS[content])
    return {"outpaint": found}


def _mk2(args: Sequence[Any]) -> dict[str, Any]:
    _, pixels, blur, directions, detail, colours = _placed(args, "", 128, 8, list(_SIDES), 1.0, 0.05)
    found = Outpaint(
        **_sides(directions, pixels),
        blur=float(_number(blur, "mask_blur", 0, 64)),
        content="texture",
        detail=float(_number(detail, "noise_q", 0, 4)),
        colours=float(_number(colours, "color_variation", 0, 1)),
    )
    return {"outpaint": found}


def _loopback(args: Sequence[Any]) -> dict[str, Any]:
    loops, denoising, curve, interrogator = _placed(args, 4, 0.5, "Linear", "None")
    if str(interrogator or "None").lower() != "none":
        raise Unsupported("loopback: pictures cannot be described here; leave the prompt as it is", param="script_args")
    found = Loopback(
        int(_number(loops, "loops", 1, 32)),
        float(_number(denoising, "final_denoising_strength", 0, 1)),
        _of(_CURVES, curve, "the curve"),
    )
    return {"loopback": found}


def _upscale(args: Sequence[Any]) -> dict[str, Any]:
    _, overlap, upscaler, scale = _placed(args, "", 64, 0, 2.0)
    by = upscaler if isinstance(upscaler, str) else _of(_UPSCALERS, upscaler, "upscaler")
    found = Mosaic(
        scale=float(_number(scale, "scale", 0.1, 16)),
        overlap=int(_number(overlap, "overlap", 0, 2048)),
        upscaler=by or "None",
    )
    return {"mosaic": found, "batch": 1}  # A1111's batch size is how many tiles are drawn at once


_READERS: Mapping[str, Callable[[Sequence[Any]], dict[str, Any]]] = {
    OUTPAINTING: _outpainting,
    MK2: _mk2,
    LOOPBACK: _loopback,
    UPSCALE: _upscale,
}
NAMES = tuple(_READERS)
