"""What a picture's text says, as fields and options of a request for the same picture."""

from collections.abc import Mapping
from typing import Any

from velesio.http.sdapi import options as sdapi_options
from velesio.http.sdapi.fields import BY_KIND, Kind
from velesio.pictures import infotext

_FIELDS: Mapping[str, str] = {
    "Steps": "steps", "Sampler": "sampler_name", "Schedule type": "scheduler", "CFG scale": "cfg_scale",
    "Seed": "seed", "Size-1": "width", "Size-2": "height", "Variation seed": "subseed",
    "Variation seed strength": "subseed_strength", "Seed resize from-1": "seed_resize_from_w",
    "Seed resize from-2": "seed_resize_from_h", "Denoising strength": "denoising_strength", "Tiling": "tiling",
    "Sigma churn": "s_churn", "Sigma tmin": "s_tmin", "Sigma tmax": "s_tmax", "Sigma noise": "s_noise",
    "NGMS": "s_min_uncond", "Refiner": "refiner_checkpoint", "Refiner switch at": "refiner_switch_at",
    "Eta": "eta", "Eta DDIM": "eta",
    "Hires upscale": "hr_scale", "Hires steps": "hr_second_pass_steps", "Hires upscaler": "hr_upscaler",
    "Hires resize-1": "hr_resize_x", "Hires resize-2": "hr_resize_y", "Hires sampler": "hr_sampler_name",
    "Hires schedule type": "hr_scheduler", "Hires checkpoint": "hr_checkpoint_name", "Hires prompt": "hr_prompt",
    "Hires negative prompt": "hr_negative_prompt",
    "Mask blur": "mask_blur", "Mask blur-1": "mask_blur_x", "Mask blur-2": "mask_blur_y",
    "Masked area padding": "inpaint_full_res_padding",
}  # fmt: skip
"""Fields by the names that a picture's text has for them."""
_OPTIONS: Mapping[str, str] = {
    "Model": sdapi_options.MODEL, "VAE": "sd_vae", "Clip skip": "CLIP_stop_at_last_layers", "Emphasis": "emphasis",
    "RNG": "randn_source", "ENSD": "eta_noise_seed_delta", "Schedule min sigma": "sigma_min",
    "Schedule max sigma": "sigma_max", "Schedule rho": "rho", "Noise multiplier": "initial_noise_multiplier",
    "Discard penultimate sigma": "always_discard_next_to_last_sigma", "SGM noise multiplier": "sgm_noise_multiplier",
    "Extra noise": "img2img_extra_noise", "Skip Early CFG": "skip_early_cond", "NGMS all steps": "s_min_uncond_all",
    "Token merging ratio": "token_merging_ratio", "Token merging ratio hr": "token_merging_ratio_hr",
    "VAE Encoder": "sd_vae_encode_method", "VAE Decoder": "sd_vae_decode_method",
    "Refiner switch by sampling steps": "refiner_switch_by_sample_steps", "Hires refiner": "hires_fix_refiner_pass",
    "Old prompt editing timelines": "use_old_scheduling", "Downcast alphas_cumprod": "use_downcasted_alpha_bar",
    "Noise Schedule": "sd_noise_schedule", "UniPC variant": "uni_pc_variant", "UniPC skip type": "uni_pc_skip_type",
    "UniPC order": "uni_pc_order", "UniPC lower order final": "uni_pc_lower_order_final",
    "Beta schedule alpha": "beta_dist_alpha", "Beta schedule beta": "beta_dist_beta",
    "Beta scheduler alpha": "beta_dist_alpha", "Beta scheduler beta": "beta_dist_beta",
    "Conditional mask weight": "inpainting_mask_weight",
}  # fmt: skip
_CONTENTS = ("fill", "original", "latent noise", "latent nothing")


def filled(kind: Kind, raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The body with what the text in its `infotext` says of fields that it does not have; options of that text."""
    # An empty seed means any, which A1111's forms send.
    given = {name: value for name, value in raw.items() if not (name in {"seed", "subseed"} and value == "")}
    if not given.get("infotext"):
        return given, {}
    text = infotext.parse(str(given["infotext"]))
    told = {"prompt": text.prompt, "negative_prompt": text.negative_prompt} | _told(text.parameters)
    # What stands in texts for values of their own, as `Schedule type: Uniform`, is a name that fields know.
    options = {key: text.parameters[name] for name, key in _OPTIONS.items() if name in text.parameters}
    known = BY_KIND[kind]
    return {name: value for name, value in told.items() if name in known} | given, sdapi_options.checked(options)


def _told(parameters: Mapping[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = {field: parameters[key] for key, field in _FIELDS.items() if key in parameters}
    if "Hires upscale" in parameters or "Hires resize-1" in parameters:
        told["enable_hr"] = "true"
    if "Mask blur" in parameters or "Mask blur-1" in parameters:
        told["inpaint_full_res"] = parameters.get("Inpaint area") == "Only masked"
        told["inpainting_mask_invert"] = int(parameters.get("Mask mode") == "Inpaint not masked")
        content = parameters.get("Masked content", "original")
        told["inpainting_fill"] = _CONTENTS.index(content) if content in _CONTENTS else content
    return told
