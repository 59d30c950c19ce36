"""Fields of txt2img and img2img: what each means here, with A1111's types and defaults."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from velesio.http.fields import Field, Fields, given

Kind = Literal["txt2img", "img2img"]


def _idle(kind: Any, note: str, default: Any = msgspec.UNSET) -> Field:
    """A field that is accepted, told again, and changes nothing."""
    return Field(type=kind, note=note, default=default, fate="no effect")


def _barred(kind: Any, what: str, default: Any = msgspec.UNSET, instead: str = "leave the field out") -> Field:
    """A field that is refused where it asks for something; its type is still A1111's."""
    return Field(type=kind, note=what, default=default, fate="refused", instead=instead)


_OPTION = "; left out: the option of that name"

COMMON: Fields = {
    "prompt": given(str, "what to draw; `#` begins a comment", default=""),
    "negative_prompt": given(str, "what not to draw", default=""),
    "styles": given(list[str], "names of `/sdapi/v1/prompt-styles`; unknown ones are passed over"),
    "seed": given(int, "-1 draws one; picture i has seed + i", default=-1),
    "subseed": given(int, "the variation's seed", default=-1),
    "subseed_strength": given(float, "how far to vary, 0 to 1; picture i then varies with subseed + i", default=0.0),
    "seed_resize_from_h": given(int, "pixels at which the noise is drawn; 0 and less: off", default=-1),
    "seed_resize_from_w": given(int, "as `seed_resize_from_h`", default=-1),
    "sampler_name": given(str, "may end with a schedule's name: `DPM++ 2M Karras`"),
    "sampler_index": given(str, "the sampler, where `sampler_name` is empty", default="Euler"),
    "scheduler": given(str, "its name or label; left out: Automatic"),
    "batch_size": given(int, "pictures that are drawn together", default=1),
    "n_iter": given(int, "how often that is done, each as a job of its own, 1 to 100", default=1),
    "steps": given(int, "of the sampler", default=50),
    "cfg_scale": given(float, "how closely the prompt is followed", default=7.0),
    "width": given(int, "pixels", default=512),
    "height": given(int, "pixels", default=512),
    "restore_faces": _barred(bool, "the restoring of faces is"),
    "tiling": given(bool, f"edges that fit together{_OPTION}"),
    "do_not_save_samples": _idle(bool, "nothing is saved on the server", default=False),
    "do_not_save_grid": _idle(bool, "nothing is saved on the server", default=False),
    "eta": given(float, "of ancestral samplers and of DDIM; left out: the options `eta_ancestral` and `eta_ddim`"),
    "denoising_strength": given(float, "how much is drawn anew: of `init_images`, or in the second pass", default=0.75),
    "s_min_uncond": given(float, f"noise below which every second step has no negative prompt{_OPTION}"),
    "s_churn": given(float, f"of Euler, Heun and DPM2{_OPTION}"),
    "s_tmax": given(float, f"the noise up to which `s_churn` counts, 0 is no limit{_OPTION}"),
    "s_tmin": given(float, f"the noise from which `s_churn` counts{_OPTION}"),
    "s_noise": given(float, f"a factor on the noise that samplers add{_OPTION}"),
    "override_settings": given(dict[str, Any], "options for this request alone"),
    "override_settings_restore_afterwards": given(bool, "false keeps `override_settings` as options", default=True),
    "refiner_checkpoint": given(str, "a model that takes over"),
    "refiner_switch_at": given(float, "the part of the steps after which it does; left out: 0.8"),
    "disable_extra_networks": given(bool, "whether `<lora:…>` in the prompt is passed over", default=False),
    "firstpass_image": _idle(str, "no picture can be sent in it"),
    "comments": _idle(dict[str, Any], "for A1111's own use"),
    "script_name": given(str, "a script of `/sdapi/v1/scripts`"),
    "script_args": given(list[Any], "its arguments, by place", default=[]),
    "send_images": given(bool, "false: `images` is empty", default=True),
    "save_images": given(
        bool, "true: of several pictures a sheet comes first (option `return_grid`); nothing is saved", default=False
    ),
    "alwayson_scripts": given(dict[str, Any], '`{"ControlNet": {"args": [units]}}`', default={}),
    "force_task_id": given(str, "the name by which `/internal/progress` and others know this request"),
    "infotext": given(str, "a picture's text; it fills what the request does not say itself"),
    "lenient": given(
        bool, "whether unknown samplers and schedules are passed over with a note; left out: `sdapi.lenient`"
    ),
}

TXT2IMG: Fields = {
    **COMMON,
    "enable_hr": given(bool, "whether there is a second, larger pass", default=False),
    "firstphase_width": given(int, "pixels of the first pass; `width` and `height` are then the second's", default=0),
    "firstphase_height": given(int, "as `firstphase_width`", default=0),
    "hr_scale": given(float, "how much larger the second pass is", default=2.0),
    "hr_upscaler": given(str, "one of `/sdapi/v1/upscalers` or of `latent-upscale-modes`; left out: Latent"),
    "hr_second_pass_steps": given(int, "0: as many as the first pass", default=0),
    "hr_resize_x": given(int, "pixels of the second pass, in place of `hr_scale`", default=0),
    "hr_resize_y": given(int, "as `hr_resize_x`; one alone keeps the shape", default=0),
    "hr_checkpoint_name": given(str, "the second pass's model; left out: the same"),
    "hr_sampler_name": given(str, "the second pass's sampler; left out: the same"),
    "hr_scheduler": given(str, "the second pass's schedule; left out: the same"),
    "hr_prompt": given(str, "empty: the same", default=""),
    "hr_negative_prompt": given(str, "empty: the same", default=""),
}

IMG2IMG: Fields = {
    **COMMON,
    "init_images": given(list[str], "base64 or `data:` addresses: one, or one for each of `batch_size`"),
    "resize_mode": given(int, "0 stretch, 1 crop, 2 fill, 3 stretch the latents", default=0),
    "image_cfg_scale": _idle(float, "of models that edit by instruction; there are none here"),
    "mask": given(str, "a picture, white is drawn anew; where it has transparency, that is the mask"),
    "mask_blur_x": given(int, "pixels over which the mask's border is softened", default=4),
    "mask_blur_y": given(int, "as `mask_blur_x`", default=4),
    "mask_blur": given(int, "both of them"),
    "mask_round": given(bool, "whether the model is shown a mask of black and white", default=True),
    "inpainting_fill": given(int, "0 colours around, 1 what is there, 2 noise, 3 nothing", default=0),
    "inpaint_full_res": given(bool, "whether only the masked part is drawn, at full size", default=True),
    "inpaint_full_res_padding": given(int, "pixels around it that are drawn with it", default=0),
    "inpainting_mask_invert": given(int, "1: black is drawn anew", default=0),
    "initial_noise_multiplier": given(float, f"on the noise that the picture gets{_OPTION}"),
    "latent_mask": _barred(str, "a mask of latents is", instead="send it as `mask`"),
    "include_init_images": given(bool, "whether `parameters` has the pictures again", default=False),
}

BY_KIND: Mapping[Kind, Fields] = {"txt2img": TXT2IMG, "img2img": IMG2IMG}

NEVER_NULL = frozenset({"sampler_index", "script_args", "alwayson_scripts", "send_images", "save_images"})

TOLD: Mapping[str, Any] = {
    "restore_faces": False,
    "tiling": False,
    "eta": 1.0,
    "s_min_uncond": 0.0,
    "s_churn": 0.0,
    "s_tmax": 0.0,
    "s_tmin": 0.0,
    "s_noise": 1.0,
    "denoising_strength": 0.75,
    "initial_noise_multiplier": 1.0,
}
"""What `parameters` tells of fields that were left out: clients with typed fields cannot read null."""
NOT_TOLD = frozenset({"include_init_images", "lenient"})
