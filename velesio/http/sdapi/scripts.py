"""Scripts of A1111 that are honoured: ControlNet's units, and by name those that a request may select."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from velesio.errors import Unprocessable, Unsupported
from velesio.http.fields import Fields, of
from velesio.http.sdapi import redrawing
from velesio.http.sdapi.pictures import decoded
from velesio.http.sdapi.plots import MATRIX, XYZ
from velesio.http.sdapi.values import read
from velesio.jobs import Control

CONTROLNET = "controlnet"
SELECTABLE: Mapping[str, tuple[str, ...]] = {
    "txt2img": (MATRIX, XYZ),
    "img2img": (*redrawing.NAMES, MATRIX, XYZ),
}
ALWAYS_ON = (CONTROLNET,)
_SUPERSEDED = {"refiner", "seed", "sampler", "comments", "extra options"}
"""A1111's own, for whose arguments a request has fields: they say nothing over its API."""
_OFF = {"soft inpainting", "hypertile"}
"""A1111's own that are not here; their first argument says whether they are wanted."""
_NONE = {"", "none"}


class Unit(msgspec.Struct):
    """One of ControlNet's units."""

    enabled: bool = False
    module: str = "none"
    model: str = "None"
    weight: float = 1.0
    image: Any = None
    input_image: Any = None
    mask: Any = None
    mask_image: Any = None
    resize_mode: Any = "Crop and Resize"
    processor_res: int = -1
    threshold_a: float = -1.0
    threshold_b: float = -1.0
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    pixel_perfect: bool = False
    control_mode: Any = "Balanced"
    hr_option: str = "Both"
    save_detected_map: bool = True


UNIT: Fields = of(
    Unit,
    enabled="whether it counts",
    module="the preprocessor",
    model="of `controlnet/`",
    weight="how much it says",
    image="base64; left out: the picture that img2img was given",
    input_image="as `image`",
    mask="where it works, white",
    mask_image="as `mask`",
    resize_mode="Just Resize, Crop and Resize, Resize and Fill, or 0 to 2",
    processor_res="pixels for the preprocessor; -1: 512",
    threshold_a="of the preprocessor; -1: its own",
    threshold_b="of the preprocessor; -1: its own",
    guidance_start="part of the steps from which it works",
    guidance_end="part of the steps up to which it works",
    pixel_perfect="whether the preprocessor works at the picture's size",
    control_mode="Balanced, My prompt is more important, ControlNet is more important, or 0 to 2",
    hr_option="Both, Low res only, High res only",
    save_detected_map="whether the preprocessor's picture is among `images`",
)

_RESIZES: Mapping[str, Literal["stretch", "crop", "fill"]] = {
    "0": "stretch", "just resize": "stretch",
    "1": "crop", "crop and resize": "crop", "inner fit (scale to fit)": "crop", "scale to fit (inner fit)": "crop",
    "2": "fill", "resize and fill": "fill", "envelope (outer fit)": "fill", "outer fit (shrink to fit)": "fill",
}  # fmt: skip
_MODES: Mapping[str, Literal["balanced", "prompt", "control"]] = {
    "0": "balanced", "balanced": "balanced",
    "1": "prompt", "my prompt is more important": "prompt",
    "2": "control", "controlnet is more important": "control",
}  # fmt: skip
_PASSES: Mapping[str, Literal["both", "low", "high"]] = {
    "both": "both",
    "low res only": "low",
    "high res only": "high",
}


def controls(always_on: Mapping[str, Any], *, show: bool = True) -> tuple[Control, ...]:
    """The units of ControlNet that are enabled. `show`: whether what preprocessors made may be in the answer.

    Raises:
        Unprocessable: a script that there is not, a unit that cannot be read.
        Unsupported: a script of A1111's own that is not here.
    """
    found: list[Control] = []
    for name, script in always_on.items():
        args = script.get("args") if isinstance(script, dict) else None
        if not isinstance(args, list):
            raise Unprocessable(f'always on script {name}: expected {{"args": [...]}}', param="alwayson_scripts")
        if name.lower() == CONTROLNET:
            units = [(number, each) for number, each in enumerate(args) if isinstance(each, dict)]
            found += [control for number, each in units if (control := _control(each, number)) is not None]
        elif name.lower() not in _SUPERSEDED:
            _check_absent(name, args)
    return tuple(found if show else (msgspec.structs.replace(each, show=False) for each in found))


def _check_absent(name: str, args: Sequence[Any]) -> None:
    """Nothing, if a script that is not there is asked for nothing.

    Raises:
        Unprocessable, Unsupported: it is.
    """
    if name.lower() in {each for kind in SELECTABLE.values() for each in kind}:
        raise Unprocessable("Cannot have a selectable script in the always on scripts params")
    if name.lower() in _OFF and args and args[0]:
        raise Unsupported(
            f"{name} is not supported; send it with false as its first argument", param="alwayson_scripts"
        )
    if args and name.lower() not in _OFF:
        raise Unprocessable(f"always on script {name} not found; there is {', '.join(ALWAYS_ON)}")


def _control(raw: Mapping[str, Any], number: int) -> Control | None:
    unit = Unit(**read(raw, UNIT))
    if not unit.enabled or unit.model.lower() in _NONE:
        return None
    place = f"alwayson_scripts.ControlNet.args[{number}]"
    image, inner_mask = _image_and_mask(unit.image or unit.input_image)
    mask = unit.mask or unit.mask_image or inner_mask
    return Control(
        model=unit.model,
        image=decoded(image, f"{place}.image") if image else b"",
        module=unit.module,
        weight=unit.weight,
        start=unit.guidance_start,
        end=unit.guidance_end,
        mode=_chosen(unit.control_mode, _MODES, f"{place}.control_mode"),
        resize=_chosen(unit.resize_mode, _RESIZES, f"{place}.resize_mode"),
        resolution=unit.processor_res if unit.processor_res > 0 else 512,
        threshold_a=unit.threshold_a,
        threshold_b=unit.threshold_b,
        pixel_perfect=unit.pixel_perfect,
        passes=_chosen(unit.hr_option, _PASSES, f"{place}.hr_option"),
        mask=decoded(mask, f"{place}.mask") if mask else b"",
        show=unit.save_detected_map,
    )


def _image_and_mask(value: Any) -> tuple[Any, Any]:
    """Clients send `picture`, `{image, mask}` or `[image, mask]`."""
    if isinstance(value, dict):
        return value.get("image"), value.get("mask")
    if isinstance(value, list):
        return (value[0] if value else None), (value[1] if len(value) > 1 else None)
    return value, None


def _chosen(value: Any, words: Mapping[str, Any], place: str) -> Any:
    found = words.get(str(value).lower())
    if found is None:
        raise Unprocessable(
            f"{place}: there is no {value!r}; there are {', '.join(w for w in words if not w.isdigit())}"
        )
    return found


def selected(kind: str, name: str | None) -> str:
    """The selectable script that a request names; empty: none.

    Raises:
        Unprocessable: there is no such script.
    """
    wanted = (name or "").lower().strip()
    if wanted in _NONE:
        return ""
    if wanted not in SELECTABLE[kind]:
        raise Unprocessable(
            f"Script '{name}' not found; for {kind} there is {', '.join(SELECTABLE[kind])}", param="script_name"
        )
    return wanted
