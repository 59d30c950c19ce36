"""Options as A1111 has them: which of them change pictures here, and how."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from velesio.errors import BadRequest, Unprocessable
from velesio.http.fields import Field, Fields, given
from velesio.http.sdapi_defaults import DEFAULTS
from velesio.http.sdapi_values import coerced, faults
from velesio.http.wire import bad_field, encode

LONGEST = 4096
"""Bytes of one option's value as JSON."""
MODEL = "sd_model_checkpoint"
_FIXED = {"sd_checkpoint_hash", "api_enable_requests", "api_forbid_local_requests", "api_useragent"}
"""What clients send back as they read it, and cannot set."""

_EMPHASIS = {"original": "original", "none": "none", "ignore": "ignore", "no norm": "no_norm"}
_FORMS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
_SOURCES = {"gpu": "", "cpu": "cpu", "nv": "nv"}


def _one_of(key: str, words: Mapping[str, str]) -> Callable[[str], str]:
    def choose(value: str) -> str:
        if value.lower() not in words:
            raise bad_field(key, f"expected one of {', '.join(words)}")
        return words[value.lower()]

    return choose


def _same(value: Any) -> Any:
    return value


class _Effect(msgspec.Struct, frozen=True):
    """What an option means to a job."""

    field: str
    """Of `jobs.Image`."""
    note: str
    meaning: Callable[[Any], Any] = _same


_OF_IMAGE: Mapping[str, _Effect] = {
    "sd_vae": _Effect("vae", "a file of `/sdapi/v1/sd-vae`, Automatic or None"),
    "CLIP_stop_at_last_layers": _Effect("clip_skip", "last layers of the text encoder that are left out, from 1"),
    "emphasis": _Effect("emphasis", "Original, No norm, Ignore, None", _one_of("emphasis", _EMPHASIS)),
    "comma_padding_backtrack": _Effect("comma_backtrack", "tokens after a comma that move to the next chunk"),
    "randn_source": _Effect(
        "noise_source", "CPU or NV; GPU is what the model's option says", _one_of("randn_source", _SOURCES)
    ),
    "tiling": _Effect("tiling", "where the request does not say"),
    "img2img_fix_steps": _Effect("exact_steps", "whether img2img gets all steps"),
    "img2img_extra_noise": _Effect("extra_noise", "on the given picture"),
    "initial_noise_multiplier": _Effect("noise_multiplier", "where the request does not say"),
    "samples_format": _Effect("form", "png, jpg or webp, each with its text", _one_of("samples_format", _FORMS)),
    "jpeg_quality": _Effect("quality", "of jpg and webp, 1 to 100", lambda value: min(max(value, 1), 100)),
    "img2img_color_correction": _Effect("color_correction", "whether the result gets the given picture's colours"),
}
_OF_SOLVING: Mapping[str, _Effect] = {
    "eta_ancestral": _Effect("eta", "where the request has no `eta`"),
    "eta_ddim": _Effect("eta_ddim", "where the request has no `eta`"),
    "s_churn": _Effect("s_churn", "where the request does not say"),
    "s_tmin": _Effect("s_tmin", "where the request does not say"),
    "s_tmax": _Effect("s_tmax", "where the request does not say"),
    "s_noise": _Effect("s_noise", "where the request does not say"),
    "s_min_uncond": _Effect("s_min_uncond", "where the request does not say"),
    "skip_early_cond": _Effect("skip_early_cond", "part of the steps that have no negative prompt"),
    "sigma_min": _Effect("sigma_min", "of the schedule; 0: its own"),
    "sigma_max": _Effect("sigma_max", "of the schedule; 0: its own"),
    "rho": _Effect("rho", "of the schedule; 0: its own"),
    "beta_dist_alpha": _Effect("beta_alpha", "of the schedule Beta"),
    "beta_dist_beta": _Effect("beta_beta", "of the schedule Beta"),
    "always_discard_next_to_last_sigma": _Effect("discard_penultimate", "whether the last level but one is left out"),
    "sgm_noise_multiplier": _Effect("sgm_noise", "whether the first noise is scaled as SGM does"),
    "uni_pc_variant": _Effect("uni_pc_variant", "bh1 or bh2", _one_of("uni_pc_variant", {"bh1": "bh1", "bh2": "bh2"})),
    "uni_pc_order": _Effect("uni_pc_order", "of UniPC"),
    "uni_pc_lower_order_final": _Effect("uni_pc_lower_order_final", "of UniPC"),
    "sd_noise_schedule": _Effect(
        "zero_terminal_snr", "Default or Zero Terminal SNR", lambda value: value.lower() == "zero terminal snr"
    ),
    "eta_noise_seed_delta": _Effect("seed_delta", "added to the seed of noise that samplers draw"),
}
_BESIDE: Mapping[str, str] = {
    MODEL: "the model: its title, file, name or alias",
    "inpainting_mask_weight": "for models made for inpainting: how much of the original they are not shown",
    "return_grid": "whether `save_images` has a sheet of several pictures come first",
    "ESRGAN_tile": "for `extra-…`: pixels of the parts in which networks are shown a picture; 0: as a whole",
    "ESRGAN_tile_overlap": "for `extra-…`: by how many pixels they overlap",
    "live_previews_enable": "whether progress has pictures",
    "show_progress_every_n_steps": "steps from one such picture to the next; 0 and less: none",
}


def _honoured() -> dict[str, Field]:
    effects = {key: effect.note for key, effect in {**_OF_IMAGE, **_OF_SOLVING}.items()}
    notes = {MODEL: _BESIDE[MODEL]} | effects | dict(_BESIDE)
    return {key: given(_kind(key), note, default=DEFAULTS[key]) for key, note in notes.items()}


def _kind(key: str) -> Any:
    return str if DEFAULTS[key] is None else type(DEFAULTS[key])


HONOURED: Fields = _honoured()
"""Options that count, with their notes."""


def checked(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they are kept: known names alone, each as its type.

    Raises:
        BadRequest: an unknown name, or a value that is too long.
        Unprocessable: a value of another type.
    """
    kept, wrong = {}, []
    for key, value in raw.items():
        if key not in DEFAULTS:
            raise BadRequest(f"there is no option {key!r}", param=key)
        if len(encode(value)) > LONGEST:
            raise bad_field(key, f"has more than {LONGEST} bytes")
        if key in _FIXED or value is None:
            continue
        try:
            kept[key] = coerced(value, _kind(key), ["body", key]) if key in HONOURED else value
        except Unprocessable as error:
            wrong += error.details["detail"]
    if wrong:
        raise faults(wrong)
    for fields in (image_fields, solving_fields):
        fields({**DEFAULTS, **kept})  # so that what every picture would be refused for is refused now
    return kept


def overriding(raw: Mapping[str, Any] | None) -> dict[str, Any]:
    """`override_settings`: as `checked`, but unknown names are passed over, as there."""
    return checked({key: value for key, value in (raw or {}).items() if key in DEFAULTS})


def image_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """What all options together mean for `jobs.Image`."""
    return {effect.field: effect.meaning(options[key]) for key, effect in _OF_IMAGE.items()}


def solving_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """What they mean for `jobs.Solving`; an eta that is A1111's default is the sampler's own."""
    found = {effect.field: effect.meaning(options[key]) for key, effect in _OF_SOLVING.items()}
    for key, field in (("eta_ancestral", "eta"), ("eta_ddim", "eta_ddim")):
        if options[key] == DEFAULTS[key]:
            found[field] = None
    return found


def preview_every(options: Mapping[str, Any]) -> int:
    """Steps from one preview to the next; 0: there are none."""
    return max(0, int(options["show_progress_every_n_steps"])) if options["live_previews_enable"] else 0
