"""`generation_settings`: what a job was asked to do, as llama.cpp's server reports it."""

import struct
from typing import Any, NamedTuple

from velesio.http.text.generation import Generation
from velesio.http.text.grammar import settings_of as grammar_settings
from velesio.jobs import InForce, Sampling, TextParams


class Speech(NamedTuple):
    """How an answer is told apart from its reasoning."""

    chat_format: str = "Content-only"
    reasoning_format: str = "deepseek"
    generation_prompt: str = ""
    """The end of the prompt that belongs to the answer."""


def generation_settings(
    generation: Generation,
    params: TextParams,
    speech: Speech = Speech(),  # noqa: B008 - frozen
    in_force: InForce = InForce(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """The settings of one job as llama.cpp's server reports them, with what the engine tells of them. Where that has no
    grammar for a JSON schema, the schema stands in `grammar` as a comment."""
    sampling = params.sampling
    lora = [{"id": adapter, "scale": float32(scale)} for adapter, scale in params.lora or ()]
    return {
        **_sampling_settings(sampling),
        "stop": params.stop,
        "max_tokens": params.max_tokens,
        "n_predict": params.max_tokens,
        "n_keep": params.n_keep,
        "n_discard": params.n_discard,
        "ignore_eos": sampling.ignore_eos,
        "stream": generation.stream,
        "logit_bias": [
            {"bias": None if bias is None else float32(bias), "token": token}
            for token, bias in in_force.logit_bias or sampling.logit_bias
        ],
        "n_probs": params.n_probs,
        "min_keep": sampling.min_keep,
        **grammar_settings(params.grammar, in_force.grammar),
        "chat_format": speech.chat_format,
        "reasoning_format": speech.reasoning_format,
        "reasoning_in_content": speech.reasoning_format == "deepseek-legacy" and generation.stream,
        "generation_prompt": speech.generation_prompt,
        "samplers": sampling.samplers,
        "speculative.types": "none",
        "timings_per_token": generation.timings_per_token,
        "post_sampling_probs": params.post_sampling_probs,
        "backend_sampling": False,
        "lora": lora,
    }


def _sampling_settings(sampling: Sampling) -> dict[str, Any]:
    return {
        "seed": sampling.seed & 0xFFFF_FFFF,
        "temperature": float32(sampling.temperature),
        "dynatemp_range": float32(sampling.dynatemp_range),
        "dynatemp_exponent": float32(sampling.dynatemp_exponent),
        "top_k": sampling.top_k,
        "top_p": float32(sampling.top_p),
        "min_p": float32(sampling.min_p),
        "top_n_sigma": float32(sampling.top_n_sigma),
        "xtc_probability": float32(sampling.xtc_probability),
        "xtc_threshold": float32(sampling.xtc_threshold),
        "typical_p": float32(sampling.typical_p),
        "repeat_last_n": sampling.repeat_last_n,
        "repeat_penalty": float32(sampling.repeat_penalty),
        "presence_penalty": float32(sampling.presence_penalty),
        "frequency_penalty": float32(sampling.frequency_penalty),
        "dry_multiplier": float32(sampling.dry_multiplier),
        "dry_base": float32(sampling.dry_base),
        "dry_allowed_length": sampling.dry_allowed_length,
        "dry_penalty_last_n": sampling.dry_penalty_last_n,
        "dry_sequence_breakers": sampling.dry_sequence_breakers,
        "mirostat": sampling.mirostat,
        "mirostat_tau": float32(sampling.mirostat_tau),
        "mirostat_eta": float32(sampling.mirostat_eta),
        "adaptive_target": float32(sampling.adaptive_target),
        "adaptive_decay": float32(sampling.adaptive_decay),
    }


def float32(value: float) -> float:
    """`value` as the engine has it: 0.95 shows as 0.949999988079071."""
    single: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return single
