"""Facts: how a picture was made, in the words that its text uses."""

from pathlib import Path
from typing import TYPE_CHECKING

import velesio
from velesio.jobs import Hires, Image, Inpaint, Solving
from velesio.pictures import infotext

if TYPE_CHECKING:
    from velesio.backends.diffusion.request import Request

ALL = "*"
"""In `Image.untold`: nothing is told at all."""
_PASSES = {"first": "first pass", "both": "both passes"}
"""In which a refiner takes over, where it is not the second alone."""
_CONTENT = {"fill": "fill", "noise": "latent noise", "nothing": "latent nothing"}


def text(request: "Request", index: int) -> str:
    """The text of one picture."""
    params = request.params
    return infotext.write(
        params.original_prompt or params.prompt,
        params.negative_prompt,
        table(request) | _of_picture(request, index) | dict(params.extra),
    )


def table(request: "Request") -> dict[str, str]:
    """What all pictures of a request have in common."""
    params = request.params
    found: dict[str, object] = {
        "Steps": params.steps,
        "Sampler": request.choice.sampler.name,
        "Schedule type": request.choice.resolved.label,
        "CFG scale": params.cfg,
        "Size": str(request.sizes.asked),
        **_model(request),
        "Clip skip": params.clip_skip if params.clip_skip > 1 else None,
        "ENSD": params.solving.seed_delta or None,
        "RNG": (params.noise_source or request.options.noise_source).upper(),
        "Token merging ratio": params.merging or None,
        "Token merging ratio hr": params.hires.merging or None if params.hires else None,
        "Tiling": params.tiling or None,
        "Denoising strength": _denoising(params),
        **_rounds(params),
        **_second(params.hires, request),
        **_masked(params.inpaint),
        **_solving(request),
        **_others(request),
        "Version": f"velesio v{velesio.__version__}",
    }
    return {name: str(value) for name, value in found.items() if value is not None and name not in params.untold}


def _of_picture(request: "Request", index: int) -> dict[str, str]:
    variation = request.params.variation
    found = {"Seed": str(request.seed_of(index))}
    if request.params.loopback is not None:
        found["Denoising strength"] = f"{request.denoising_of(index):.4g}"
    if variation.strength:
        found["Variation seed"] = str(request.subseed + index)
        found["Variation seed strength"] = str(variation.strength)
    if variation.from_width > 0 and variation.from_height > 0:
        found["Seed resize from"] = f"{variation.from_width}x{variation.from_height}"
    return found


def _model(request: "Request") -> dict[str, object]:
    models, path = request.models, request.plan.path
    file = models.vae_file(request.setting.vae)
    return {
        "Model hash": _short(models.digest(path)),
        "Model": path.stem if path.is_file() else path.name,
        "VAE hash": _short(models.digest(file)) if file else None,
        "VAE": file.name if file else None,
    }


def _short(digest: str) -> str | None:
    return digest[:10] or None


def _denoising(params: Image) -> float | None:
    if params.init:
        return params.denoising
    return params.hires.denoising if params.hires else None


def _rounds(params: Image) -> dict[str, object]:
    back, tiled = params.loopback, params.mosaic
    found: dict[str, object] = {}
    if back is not None:
        found |= {"Loops": back.loops, "Final denoising strength": back.denoising, "Denoising curve": back.curve}
    if tiled is not None:
        found |= {"SD upscale overlap": tiled.overlap, "SD upscale upscaler": tiled.upscaler}
    return found


def _second(hires: Hires | None, request: "Request") -> dict[str, object]:
    if hires is None or request.sizes.second is None:
        return {}
    sized = hires.width or hires.height
    return {
        "Hires upscale": None if sized else hires.scale,
        "Hires resize": f"{hires.width}x{hires.height}" if sized else None,
        "Hires steps": hires.steps or None,
        "Hires upscaler": hires.upscaler or "Latent",
        "Hires sampler": hires.sampler or None,
        "Hires schedule type": hires.schedule or None,
        "Hires checkpoint": hires.checkpoint or None,
        "Hires prompt": hires.prompt or None,
        "Hires negative prompt": hires.negative_prompt or None,
    }


def _masked(inpaint: Inpaint | None) -> dict[str, object]:
    if inpaint is None:
        return {}
    blur = inpaint.blur_x if inpaint.blur_x == inpaint.blur_y else f"{inpaint.blur_x:g}x{inpaint.blur_y:g}"
    return {
        "Mask mode": "Inpaint not masked" if inpaint.invert else None,
        "Mask blur": f"{blur:g}" if isinstance(blur, float) else blur,
        "Inpaint area": "Only masked" if inpaint.only_masked else None,
        "Masked area padding": inpaint.padding if inpaint.only_masked else None,
        "Masked content": _CONTENT.get(inpaint.content),
        "Conditional mask weight": inpaint.mask_weight if inpaint.mask_weight != 1 else None,
    }


def _solving(request: "Request") -> dict[str, object]:
    solving = request.params.solving
    by_timesteps = request.choice.sampler.by_timesteps
    usual = {"s_churn": 0.0, "s_tmin": 0.0, "s_tmax": 0.0, "s_noise": 1.0}
    sigmas = {f"Sigma {name[2:]}": getattr(solving, name) for name in usual if getattr(solving, name) != usual[name]}
    return {
        "Eta DDIM" if by_timesteps else "Eta": solving.eta if solving.eta not in {None, 1.0} else None,
        **sigmas,
        "Schedule min sigma": solving.sigma_min or None,
        "Schedule max sigma": solving.sigma_max or None,
        "Schedule rho": solving.rho or None,
        "Discard penultimate sigma": solving.discard_penultimate or None,
        "SGM noise multiplier": solving.sgm_noise or None,
        "NGMS": solving.s_min_uncond or None,
        "NGMS all steps": solving.s_min_uncond_all or None,
        "Skip Early CFG": solving.skip_early_cond or None,
        "Noise Schedule": "Zero Terminal SNR" if solving.zero_terminal_snr else None,
        "Downcast alphas_cumprod": solving.half_alphas or None,
        **_of_one(request),
    }


def _of_one(request: "Request") -> dict[str, object]:
    """What only one schedule or one sampler knows."""
    solving, usual = request.params.solving, Solving()
    wanted: dict[str, tuple[str, ...]] = {
        "Beta": ("beta_alpha", "beta_beta"),
        "UniPC": ("uni_pc_variant", "uni_pc_skip", "uni_pc_order", "uni_pc_lower_order_final"),
    }
    names = wanted.get(request.choice.resolved.label, ()) + wanted.get(request.choice.sampler.name, ())
    said = {name: getattr(solving, name) for name in names}
    return {_SAID[name]: value for name, value in said.items() if value != getattr(usual, name)}


_SAID = {
    "beta_alpha": "Beta schedule alpha",
    "beta_beta": "Beta schedule beta",
    "uni_pc_variant": "UniPC variant",
    "uni_pc_skip": "UniPC skip type",
    "uni_pc_order": "UniPC order",
    "uni_pc_lower_order_final": "UniPC lower order final",
}


def _others(request: "Request") -> dict[str, object]:
    params, models = request.params, request.models
    loras = {each.name: models.library.loras.get(each.name) for each in request.adapters}
    hashes = ", ".join(f"{name}: {_lora_hash(request, path)}" for name, path in loras.items() if path)
    controls = {
        f"ControlNet {number}": f"Module: {each.module}, Model: {each.model}, Weight: {each.weight:g}, "
        f"Guidance Start: {each.start:g}, Guidance End: {each.end:g}, Control Mode: {each.mode}"
        for number, each in enumerate(params.controls)
    }
    return {
        "Refiner": params.refiner or None,
        "Refiner switch at": params.refiner_at if params.refiner else None,
        "Refiner switch by sampling steps": (params.refiner_by_steps or None) if params.refiner else None,
        "Hires refiner": _PASSES.get(params.refiner_passes) if params.refiner and params.hires else None,
        "Old prompt editing timelines": params.old_edits or None,
        "VAE Encoder": "TAESD" if params.encode_by == "tiny" and params.init else None,
        "VAE Decoder": "TAESD" if params.decode_by == "tiny" else None,
        "Emphasis": None if params.emphasis == "original" else params.emphasis.replace("_", " ").capitalize(),
        "Noise multiplier": params.noise_multiplier if params.noise_multiplier != 1 else None,
        "Extra noise": params.extra_noise or None,
        "Lora hashes": hashes or None,
        **controls,
    }


def _lora_hash(request: "Request", path: Path) -> str:
    return request.models.digest(path)[:12]
