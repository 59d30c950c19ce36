"""Axes of A1111's x/y/z plot: what may stand along a side of the table, how it is written, and what it changes."""

import csv
import itertools
import re
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from velesio.errors import Unprocessable, Unsupported
from velesio.http.sdapi.options import MODEL

MOST_POINTS = 100
"""Along one axis."""
_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_RANGE = re.compile(
    rf"\s*(?P<begin>{_NUMBER})\s*-\s*(?P<end>{_NUMBER})\s*(?:\(\s*(?P<step>{_NUMBER})\s*\)|\[\s*(?P<count>\d+)\s*\])?\s*"
)
_SIZE = re.compile(r"\s*(\d{1,5})\s*[xX]\s*(\d{1,5})\s*")
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Axis(NamedTuple):
    """What changes along a side. Most set one field or one option of the request."""

    label: str
    kind: type = str
    """Of its points."""
    field: str = ""
    option: str = ""
    tab: str = ""
    """The one route that it is for; empty: both."""
    choices: bool = False
    """Whether clients show its points as a list to choose from."""

    def points(self, text: str) -> list[Any]:
        """What is written along the axis: values with commas between them, for numbers also `1-5`, `1-5 (+2)` and
        `0-1 [5]`, from and to, by steps or so many.

        Raises:
            Unprocessable: something is no such value.
            Unsupported: there is nothing here that it could change.
        """
        if self.label == "Nothing":
            return [""]
        if not (self.field or self.option or self.label in _SPECIAL):
            raise Unsupported(f"x/y/z plot: {self.label!r} is not supported; see /sdapi/v1/script-info for other axes")
        try:
            parts = [part.strip() for part in next(csv.reader([text.replace("\n", " ")], skipinitialspace=True), [])]
        except csv.Error as error:
            raise self._wrong(text, str(error)) from None
        found = [point for part in parts if part for point in self._read(part)]
        if self.label == "Prompt order":
            found = list(itertools.islice(itertools.permutations(found), MOST_POINTS + 1))
        if not 0 < len(found) <= MOST_POINTS:
            raise self._wrong(text, f"1 to {MOST_POINTS} values can be told apart")
        return found

    def change(
        self, values: MutableMapping[str, Any], options: MutableMapping[str, Any], point: Any, first: Any
    ) -> None:
        """Sets one of its points; `first` is the first of all."""
        if self.label in _SPECIAL:
            _SPECIAL[self.label](values, point, first)
        elif self.field:
            values[self.field] = point
        elif self.option:
            options[self.option] = point

    def title(self, point: Any) -> str:
        """What stands beside the pictures."""
        if self.label == "Prompt order":
            return ", ".join(point)
        return str(point) if self.label == "Prompt S/R" else f"{self.label}: {point}"

    def _read(self, text: str) -> Sequence[Any]:
        if self.kind in {int, float} and (found := _RANGE.fullmatch(text)):
            return _between(found, whole=self.kind is int)
        if self.kind is bool:
            if text.lower() not in _TRUTH:
                raise self._wrong(text, "expected true or false")
            return [_TRUTH[text.lower()]]
        if self.label == "Size" and not _SIZE.fullmatch(text):
            raise self._wrong(text, "expected WIDTHxHEIGHT")
        try:
            return [self.kind(text)]
        except ValueError:
            raise self._wrong(text, "expected a number") from None

    def _wrong(self, text: str, what: str) -> Unprocessable:
        return Unprocessable(f"script_args: {self.label} {text[:60]!r}: {what}", param="script_args")


def _between(found: re.Match[str], *, whole: bool) -> list[Any]:
    begin, end = float(found["begin"]), float(found["end"])
    if found["count"]:
        count = min(int(found["count"]), MOST_POINTS + 1)
        points = [begin + (end - begin) * number / max(count - 1, 1) for number in range(count)]
    else:
        step = float(found["step"] or (1 if end >= begin else -1))
        count = int((end - begin) / step + 1e-9) + 1 if step and (end - begin) / step >= 0 else 0
        points = [begin + step * number for number in range(min(count, MOST_POINTS + 1))]
    return [int(point) if whole else round(point, 6) for point in points]


def _replaced(values: MutableMapping[str, Any], point: str, first: str) -> None:
    if first not in values["prompt"] and first not in values["negative_prompt"]:
        raise Unprocessable(
            f"script_args: Prompt S/R did not find {first!r} in prompt or negative prompt", param="script_args"
        )
    for field in ("prompt", "negative_prompt"):
        values[field] = values[field].replace(first, point)


def _ordered(values: MutableMapping[str, Any], point: Sequence[str], _first: Any) -> None:
    """The words of the axis stand in the prompt in this order."""
    prompt = values["prompt"]
    places = sorted((prompt.find(word), word) for word in point)
    if places and places[0][0] < 0:
        raise Unprocessable(f"script_args: Prompt order did not find {places[0][1]!r}", param="script_args")
    made, after = "", 0
    for (begin, word), other in zip(places, point, strict=True):
        made += prompt[after:begin] + other
        after = begin + len(word)
    values["prompt"] = made + prompt[after:]


def _styled(values: MutableMapping[str, Any], point: str, _first: Any) -> None:
    values["styles"] = [*(values["styles"] or ()), *point.split(",")]


def _sized(values: MutableMapping[str, Any], point: str, _first: Any) -> None:
    found = _SIZE.fullmatch(point)
    assert found is not None  # noqa: S101 - it was looked at when it was read
    values["width"], values["height"] = int(found[1]), int(found[2])


_SPECIAL: Mapping[str, Any] = {
    "Prompt S/R": _replaced,
    "Prompt order": _ordered,
    "Styles": _styled,
    "Size": _sized,
}
"""Axes that do more than set something."""

AXES: tuple[Axis, ...] = (
    Axis("Nothing"),
    Axis("Seed", int, "seed"),
    Axis("Var. seed", int, "subseed"),
    Axis("Var. strength", float, "subseed_strength"),
    Axis("Steps", int, "steps"),
    Axis("Hires steps", int, "hr_second_pass_steps", tab="txt2img"),
    Axis("CFG Scale", float, "cfg_scale"),
    Axis("Image CFG Scale", float, tab="img2img"),
    Axis("Prompt S/R"),
    Axis("Prompt order"),
    Axis("Sampler", field="sampler_name", tab="txt2img", choices=True),
    Axis("Hires sampler", field="hr_sampler_name", tab="txt2img", choices=True),
    Axis("Sampler", field="sampler_name", tab="img2img", choices=True),
    Axis("Checkpoint name", option=MODEL, choices=True),
    Axis("Negative Guidance minimum sigma", float, "s_min_uncond"),
    Axis("Sigma Churn", float, "s_churn"),
    Axis("Sigma min", float, "s_tmin"),
    Axis("Sigma max", float, "s_tmax"),
    Axis("Sigma noise", float, "s_noise"),
    Axis("Schedule type", field="scheduler", choices=True),
    Axis("Schedule min sigma", float, option="sigma_min"),
    Axis("Schedule max sigma", float, option="sigma_max"),
    Axis("Schedule rho", float, option="rho"),
    Axis("Skip Early CFG", float, option="skip_early_cond"),
    Axis("Beta schedule alpha", float, option="beta_dist_alpha"),
    Axis("Beta schedule beta", float, option="beta_dist_beta"),
    Axis("Eta", float, "eta"),
    Axis("Clip skip", int, option="CLIP_stop_at_last_layers"),
    Axis("Denoising", float, "denoising_strength"),
    Axis("Initial noise multiplier", float, option="initial_noise_multiplier"),
    Axis("Extra noise", float, option="img2img_extra_noise"),
    Axis("Hires upscaler", field="hr_upscaler", tab="txt2img", choices=True),
    Axis("Cond. Image Mask Weight", float, option="inpainting_mask_weight", tab="img2img"),
    Axis("VAE", option="sd_vae", choices=True),
    Axis("Styles", choices=True),
    Axis("UniPC Order", int, option="uni_pc_order"),
    Axis("Face restore", choices=True),
    Axis("Token merging ratio", float, option="token_merging_ratio"),
    Axis("Token merging ratio high-res", float, option="token_merging_ratio_hr"),
    Axis("Always discard next-to-last sigma", bool, option="always_discard_next_to_last_sigma", choices=True),
    Axis("SGM noise multiplier", bool, option="sgm_noise_multiplier", choices=True),
    Axis("Refiner checkpoint", field="refiner_checkpoint", choices=True),
    Axis("Refiner switch at", float, "refiner_switch_at"),
    Axis("RNG source", option="randn_source", choices=True),
    Axis("FP8 mode", choices=True),
    Axis("Size"),
)
"""In A1111's order, by which its clients name them; some are of what is not there."""


def of_tab(kind: str) -> list[Axis]:
    """Those of a route; their places are what clients send."""
    return [axis for axis in AXES if axis.tab in {"", kind}]
