"""Samplers, schedules and upscalers as A1111 lists them."""

from collections.abc import Mapping
from typing import Any

SAMPLERS: Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
    "DPM++ 2M": (("k_dpmpp_2m",), {"scheduler": "karras"}),
    "DPM++ SDE": (("k_dpmpp_sde",), {"scheduler": "karras", "second_order": "True", "brownian_noise": "True"}),
    "DPM++ 2M SDE": (("k_dpmpp_2m_sde",), {"scheduler": "exponential", "brownian_noise": "True"}),
    "DPM++ 2M SDE Heun": (
        ("k_dpmpp_2m_sde_heun",), {"scheduler": "exponential", "brownian_noise": "True", "solver_type": "heun"},
    ),
    "DPM++ 2S a": (("k_dpmpp_2s_a",), {"scheduler": "karras", "uses_ensd": "True", "second_order": "True"}),
    "DPM++ 3M SDE": (
        ("k_dpmpp_3m_sde",),
        {"scheduler": "exponential", "discard_next_to_last_sigma": "True", "brownian_noise": "True"},
    ),
    "Euler a": (("k_euler_a", "k_euler_ancestral"), {"uses_ensd": "True"}),
    "Euler": (("k_euler",), {}),
    "LMS": (("k_lms",), {}),
    "Heun": (("k_heun",), {"second_order": "True"}),
    "DPM2": (
        ("k_dpm_2",), {"scheduler": "karras", "discard_next_to_last_sigma": "True", "second_order": "True"},
    ),
    "DPM2 a": (
        ("k_dpm_2_a",),
        {
            "scheduler": "karras", "discard_next_to_last_sigma": "True", "uses_ensd": "True", "second_order": "True",
        },
    ),
    "DPM fast": (("k_dpm_fast",), {"uses_ensd": "True"}),
    "DPM adaptive": (("k_dpm_ad",), {"uses_ensd": "True"}),
    "LCM": (("k_lcm",), {}),
    "Restart": (("restart",), {"scheduler": "karras", "second_order": "True"}),
    "DDIM": (("ddim",), {}),
    "DDIM CFG++": (("ddim_cfgpp",), {}),
    "PLMS": (("plms",), {}),
    "UniPC": (("unipc",), {}),
}  # fmt: skip
"""Aliases and facts of each."""

SCHEDULERS: Mapping[str, tuple[str, tuple[str, ...], float]] = {
    "Automatic": ("automatic", (), -1.0),
    "Uniform": ("uniform", (), -1.0),
    "Karras": ("karras", (), 7.0),
    "Exponential": ("exponential", (), -1.0),
    "Polyexponential": ("polyexponential", (), 1.0),
    "SGM Uniform": ("sgm_uniform", ("SGMUniform",), -1.0),
    "KL Optimal": ("kl_optimal", (), -1.0),
    "Align Your Steps": ("align_your_steps", (), -1.0),
    "Simple": ("simple", (), -1.0),
    "Normal": ("normal", (), -1.0),
    "DDIM": ("ddim", (), -1.0),
    "Beta": ("beta", (), -1.0),
}
"""By label: name, aliases, usual rho or -1."""
_OWN_SIGMAS = {"uniform", "sgm_uniform", "simple", "normal", "ddim", "beta"}
"""Those that begin with a model's own levels."""

LATENT_MODES = (
    "Latent", "Latent (antialiased)", "Latent (bicubic)", "Latent (bicubic antialiased)", "Latent (nearest)",
    "Latent (nearest-exact)",
)  # fmt: skip
PLAIN_UPSCALERS = ("None", "Lanczos", "Nearest")


def sampler(name: str) -> dict[str, Any]:
    """An entry of `/sdapi/v1/samplers`."""
    aliases, options = SAMPLERS.get(name, ((), {}))
    return {"name": name, "aliases": list(aliases), "options": dict(options)}


def scheduler(label: str) -> dict[str, Any]:
    """An entry of `/sdapi/v1/schedulers`."""
    name, aliases, rho = SCHEDULERS.get(label, (label.lower().replace(" ", "_"), (), -1.0))
    return {
        "name": name,
        "label": label,
        "aliases": list(aliases) or None,
        "default_rho": rho,
        "need_inner_model": name in _OWN_SIGMAS,
    }


def upscaler(name: str) -> dict[str, Any]:
    """An entry of `/sdapi/v1/upscalers`."""
    return {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": 4}
