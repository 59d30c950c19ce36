"""Ollama's `options` and `keep_alive`: how tokens are chosen, and for how long a model stays."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from velesio.errors import BadRequest
from velesio.http.fields import Fields, given, passed
from velesio.http.text import sampling
from velesio.http.text.generation import stops_of
from velesio.http.wire import INT_MAX, bad_field, within
from velesio.jobs import Sampling

log = structlog.get_logger("velesio.http")

WHOLE_CONTEXT = 32768
"""Tokens that `repeat_last_n` -1 looks back on; Ollama means the context by it."""

_DEFAULTS = {"top_p": 0.9, "min_p": 0.0}
"""Where Ollama's defaults are not llama.cpp's."""
_SAMPLING = frozenset(field.name for field in msgspec.structs.fields(Sampling))
_KEPT = 4
_OTHERS: Fields = {
    "num_predict": given(int, "tokens to generate at most; -1, -2: until the model ends", default=-1),
    "num_keep": given(int, "tokens of the prompt that stay when it is cut or the context shifts", default=_KEPT),
    "stop": given(str | list[str], "texts that end the answer", default=[]),
}
_AT_LOADING: Fields = dict.fromkeys(
    (
        "num_ctx",
        "num_batch",
        "num_gpu",
        "main_gpu",
        "num_thread",
        "use_mmap",
        "use_mlock",
        "low_vram",
        "numa",
        "f16_kv",
        "vocab_only",
        "logits_all",
        "embedding_only",
        "draft_num_predict",
    ),
    passed("config.toml says that for each model"),
)
_NO_MORE: Fields = {
    "tfs_z": passed("no sampler does that any more"),
    "penalize_newline": passed("line breaks count as other tokens do"),
    "penalize_nl": passed("line breaks count as other tokens do"),
}

OPTIONS: Fields = {
    **_OTHERS,
    **sampling.FIELDS,
    **{name: given(float, sampling.FIELDS[name].note, default=value) for name, value in _DEFAULTS.items()},
    "repeat_last_n": given(int, "tokens that the penalties look back; 0: none; -1: all", default=64),
    **_AT_LOADING,
    **_NO_MORE,
}
"""What stands in `options`."""

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def params_of(value: Any) -> dict[str, Any]:
    """Fields of `TextParams` that `options` give; those that are not known are left out, with a line in the log.

    Raises:
        BadRequest: no object, or a value of the wrong type.
    """
    options = _known(value)
    chosen = {name: option for name, option in options.items() if name in _SAMPLING}
    if chosen.get("repeat_last_n") == -1:
        chosen["repeat_last_n"] = WHOLE_CONTEXT
    return {
        "sampling": _sampling(_DEFAULTS | chosen),
        "max_tokens": max(-1, within("options.num_predict", _whole(options, "num_predict", -1), -2)),
        "n_keep": within("options.num_keep", _whole(options, "num_keep", _KEPT), -1),
        "stop": _stops(options.get("stop", [])),
    }


def _sampling(chosen: Mapping[str, Any]) -> Sampling:
    try:
        return sampling.sampling_of(chosen)
    except BadRequest as error:  # it names the field, which stands in options here
        message = error.message.replace("Field '", "Field 'options.", 1)
        raise BadRequest(message, param=f"options.{error.param}") from None


def _known(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_field("options", 'expected an object, like {"temperature": 0}')
    if strange := sorted(value.keys() - OPTIONS.keys()):
        log.warning("unknown options ignored", options=strange[:10])
    if fixed := sorted(value.keys() & _AT_LOADING.keys()):
        log.info("options ignored that config.toml sets for each model", options=fixed)
    return {name: option for name, option in value.items() if name in OPTIONS and option is not None}


def _stops(value: Any) -> tuple[str, ...]:
    if not isinstance(value, str | list) or (isinstance(value, list) and not all(isinstance(s, str) for s in value)):
        raise bad_field("options.stop", "expected a string, or a list of strings")
    return stops_of(value)


def _whole(options: Mapping[str, Any], name: str, default: int) -> int:
    value = options.get(name, default)
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise bad_field(f"options.{name}", "expected an integer")
    return int(value)


def keep_alive_of(value: Any) -> float | None:
    """Seconds for which the model stays loaded: a number, or a duration like "5m", "1h30m" or "-1"; negative: for ever.

    Raises:
        BadRequest: it is something else.
    """
    if value is None:
        return None
    seconds = value if type(value) in {int, float} else _duration(value) if isinstance(value, str) else None
    if seconds is None:
        raise bad_field("keep_alive", 'expected seconds, or a duration like "5m"')
    return max(-1.0, min(float(seconds), float(INT_MAX)))


def _duration(text: str) -> float | None:
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
    if re.fullmatch(r"\d+(\.\d+)?", rest):
        return sign * float(rest)
    if not rest or _DURATION.sub("", rest):
        return None
    return sign * sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(rest))
