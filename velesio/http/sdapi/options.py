"""Options as A1111 has them: which of them change pictures here, and how."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from velesio.errors import BadRequest, Unprocessable
from velesio.http.fields import Field, Fields, given, refuse, refused, unless
from velesio.http.sdapi.defaults import DEFAULTS
from velesio.http.sdapi.unheeded import UNHEEDED
from velesio.http.sdapi.values import coerced, faults
from velesio.http.wire import bad_field, encode
from velesio.jobs import Framing

LONGEST = 4096
"""Bytes of one option's value as JSON."""
MODEL = "sd_model_checkpoint"
_FIXED = {"sd_checkpoint_hash", "api_enable_requests", "api_forbid_local_requests", "api_useragent"}
"""What clients send back as they read it, and cannot set."""

_EMPHASIS = {"original": "original", "none": "none", "ignore": "ignore", "no norm": "no_norm"}
_FORMS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
_SOURCES = {"gpu": "", "cpu": "cpu", "nv": "nv"}


def _one_of(key: str, words: Mapping[str, Any]) -> Callable[[str], Any]:
    def choose(value: str) -> Any:
        if value.lower() not in words:
            raise bad_field(key, f"expected one of {', '.join(words)}")
        return words[value.lower()]

    return choose


def _same(value: Any) -> Any:
    return value


def _colour(key: str) -> Callable[[str], str]:
    def choose(value: str) -> str:
        if not _COLOUR.fullmatch(value):
            raise bad_field(key, "expected a colour like #ffffff")
        return value

    return choose


def _pixels(value: int) -> int:
    return min(max(value, 0), 65536)


_COLOUR = re.compile("#(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})")
_CODERS = {"full": "vae", "taesd": "tiny"}
_GLIMPSES = {"full": "vae", "approx nn": "matrix", "approx cheap": "matrix", "taesd": "tiny"}
_SKIPS = {"time_uniform": "time_uniform", "time_quadratic": "time_quadratic", "logsnr": "logSNR"}
_PASSES = {"first pass": "first", "second pass": "second", "both passes": "both"}
_SCHEDULES = {"default": False, "zero terminal snr": True}


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
    "img2img_background_color": _Effect(
        "background", "behind transparent parts of given pictures", _colour("img2img_background_color")
    ),
    "webp_lossless": _Effect("lossless", "whether webp files lose nothing"),
    "sdxl_clip_l_skip": _Effect("clip_skip_xl", "whether clip skip moves the first text encoder of XL models, too"),
    "use_old_scheduling": _Effect("old_edits", "whether edits in prompts are timed as before A1111 1.6"),
    "upscaler_for_img2img": _Effect(
        "upscaler", "what enlarges given pictures that are too small; None: Lanczos", lambda value: value or ""
    ),
    "ESRGAN_tile": _Effect(
        "tile", "pixels of the parts in which upscalers are shown a picture; 0: as a whole", _pixels
    ),
    "ESRGAN_tile_overlap": _Effect("overlap", "by how many pixels they overlap", _pixels),
    "sd_vae_encode_method": _Effect(
        "encode_by", "Full, or TAESD where `taesd/` has one for the model", _one_of("sd_vae_encode_method", _CODERS)
    ),
    "sd_vae_decode_method": _Effect("decode_by", "as `sd_vae_encode_method`", _one_of("sd_vae_decode_method", _CODERS)),
    "refiner_switch_by_sample_steps": _Effect("refiner_by_steps", "whether `refiner_switch_at` is a part of the steps"),
    "hires_fix_refiner_pass": _Effect(
        "refiner_passes", "first pass, second pass or both passes", _one_of("hires_fix_refiner_pass", _PASSES)
    ),
    "show_progress_type": _Effect(
        "preview_by",
        "how progress gets its pictures: Approx NN and Approx cheap by a matrix, Full by the VAE, TAESD where there is "
        "one, else by a matrix",
        _one_of("show_progress_type", _GLIMPSES),
    ),
    "live_previews_image_format": _Effect(
        "preview_form", "of these pictures: png, jpeg or webp", _one_of("live_previews_image_format", _FORMS)
    ),
}
_OF_SOLVING: Mapping[str, _Effect] = {
    "eta_ancestral": _Effect("eta", "where the request has no `eta`"),
    "eta_ddim": _Effect("eta_ddim", "where the request has no `eta`"),
    "s_churn": _Effect("s_churn", "where the request does not say"),
    "s_tmin": _Effect("s_tmin", "where the request does not say"),
    "s_tmax": _Effect("s_tmax", "where the request does not say"),
    "s_noise": _Effect("s_noise", "where the request does not say"),
    "s_min_uncond": _Effect("s_min_uncond", "where the request does not say"),
    "s_min_uncond_all": _Effect("s_min_uncond_all", "whether every step below it has no negative prompt"),
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
    "uni_pc_skip_type": _Effect(
        "uni_pc_skip", "time_uniform, time_quadratic or logSNR", _one_of("uni_pc_skip_type", _SKIPS)
    ),
    "sd_noise_schedule": _Effect(
        "zero_terminal_snr", "Default or Zero Terminal SNR", _one_of("sd_noise_schedule", _SCHEDULES)
    ),
    "use_downcasted_alpha_bar": _Effect("half_alphas", "whether noise levels are rounded as old versions did"),
    "enable_quantization": _Effect("whole_timesteps", "whether the UNet is told the nearest whole timestep"),
    "use_old_karras_scheduler_sigmas": _Effect("old_karras", "whether Karras runs from 10 to 0.1"),
    "eta_noise_seed_delta": _Effect("seed_delta", "added to the seed of noise that samplers draw"),
}
_BESIDE: Mapping[str, str] = {
    MODEL: "the model: its title, file, name or alias",
    "inpainting_mask_weight": "for models made for inpainting: how much of the original they are not shown",
    "overlay_inpaint": "whether the given picture's pixels are put back where the mask keeps them",
    "return_mask": "whether the mask comes behind the pictures, as it was used",
    "return_mask_composite": "whether what was made inside of it does, transparent elsewhere",
    "token_merging_ratio": "part of the tokens that models with attention at their latents' size merge, 0 to 0.9",
    "token_merging_ratio_img2img": "the same for img2img; 0: as that",
    "token_merging_ratio_hr": "the same for the second pass; 0: as `token_merging_ratio`",
    "sdxl_crop_top": "pixels by which XL models are told that the picture is cut above",
    "sdxl_crop_left": "the same at the left",
    "sdxl_refiner_high_aesthetic_score": "what XL's refiner is told of the picture",
    "sdxl_refiner_low_aesthetic_score": "and of the negative prompt",
    "enable_pnginfo": "whether files have a text that says how they were made; `info` has it in any case",
    "add_model_name_to_info": "whether that text names the model",
    "add_model_hash_to_info": "whether it has its hash",
    "add_vae_name_to_info": "the same of the VAE",
    "add_vae_hash_to_info": "the same of its hash",
    "add_version_to_infotext": "whether it names Velesio's version",
    "return_grid": "whether `save_images` has a sheet of several pictures come first",
    "n_rows": "of that sheet; -1: as fits, 0: as many as `batch_size`",
    "grid_format": "of sheets: png, jpg or webp",
    "grid_background_color": "of sheets: #rgb or #rrggbb",
    "grid_text_active_color": "of their titles",
    "control_net_no_detectmap": "whether ControlNet's maps are left out of the answer",
    "live_previews_enable": "whether progress has pictures",
    "show_progress_every_n_steps": "steps from one such picture to the next; 0 and less: none",
}


def _honoured() -> dict[str, Field]:
    effects = {key: effect.note for key, effect in {**_OF_IMAGE, **_OF_SOLVING}.items()}
    notes = {MODEL: _BESIDE[MODEL]} | effects | dict(_BESIDE)
    return {key: given(_kind(key), note, default=DEFAULTS[key]) for key, note in notes.items()}


def _kind(key: str) -> Any:
    return str if DEFAULTS[key] is None else type(DEFAULTS[key])


def _truth(value: Any) -> bool:
    return str(value).lower() not in {"", "false", "0", "none", "0.0"}


HONOURED: Fields = _honoured()
"""Options that count, with their notes."""
REFUSED: Fields = {
    "face_restoration": refused("the restoring of faces is", _truth, instead="leave it false"),
    "sd_hypernetwork": refused("hypernetworks are", unless("None"), instead="leave it None"),
    "sd_unet": refused(
        "UNets beside a checkpoint's own are", unless("Automatic", "None"), instead="leave it Automatic"
    ),
    "fp8_storage": refused("weights of 8 bits are", unless("Disable"), instead="leave it Disable"),
}
"""Options that ask for what is not there, unless they have their defaults."""
IDLE: Fields = {
    key: Field(type=_kind(key), note=reason, default=DEFAULTS[key], fate="no effect")
    for key, reason in UNHEEDED.items()
}
"""Options that change nothing, with the reason."""


def checked(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they are kept: known names alone, each as its type.

    Raises:
        BadRequest: an unknown name, or a value that is too long.
        Unprocessable: a value of another type.
        Unsupported: it asks for what is not there.
    """
    refuse(raw, REFUSED)
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
    for fields in (image_fields, solving_fields, sheet_fields):
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


def sheet_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """What they mean for sheets."""
    colours = {"paper": "grid_background_color", "ink": "grid_text_active_color"}
    return {
        **{field: _colour(key)(options[key]) for field, key in colours.items()},
        "form": _one_of("grid_format", _FORMS)(options["grid_format"]),
        "quality": min(max(options["jpeg_quality"], 1), 100),
    }


def framing(options: Mapping[str, Any]) -> Framing:
    """What XL models are told."""
    scores = (options[f"sdxl_refiner_{which}_aesthetic_score"] for which in ("high", "low"))
    return Framing(max(options["sdxl_crop_top"], 0), max(options["sdxl_crop_left"], 0), *scores)


def merging(options: Mapping[str, Any], where: str) -> float:
    """The part of tokens that are merged: in txt2img, img2img, or in the second pass, hr."""
    own = options.get(f"token_merging_ratio_{where}") or options["token_merging_ratio"]
    return float(min(max(own, 0.0), 0.9))


_TOLD: Mapping[str, str] = {
    "add_model_name_to_info": "Model", "add_model_hash_to_info": "Model hash", "add_vae_name_to_info": "VAE",
    "add_vae_hash_to_info": "VAE hash", "add_version_to_infotext": "Version", "enable_pnginfo": "*",
}  # fmt: skip


def untold(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Facts that pictures' texts leave out; "*": files have none."""
    return tuple(name for key, name in _TOLD.items() if not options[key])


def preview_every(options: Mapping[str, Any]) -> int:
    """Steps from one preview to the next; 0: there are none."""
    return max(0, int(options["show_progress_every_n_steps"])) if options["live_previews_enable"] else 0
