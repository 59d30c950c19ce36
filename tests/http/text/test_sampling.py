"""Sampling fields: defaults, limits, spellings."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velesio.errors import BadRequest
from velesio.http.text.sampling import sampling_of
from velesio.jobs import Sampling


def test_nothing_asked_is_every_default() -> None:
    """What a body does not mention has the default of the params; strangers are ignored."""
    assert sampling_of({"prompt": "x", "tfs_z": 0, "penalize_nl": True}) == Sampling()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"temperature": -1}, {"temperature": 0.0}),
        ({"temperature": 1e300}, {"temperature": 3.4028234663852886e38}),
        ({"top_k": 40.0}, {"top_k": 40}),
        ({"top_k": -7}, {"top_k": 0}),
        ({"top_k": 2**70}, {"top_k": 2**31 - 1}),
        ({"top_p": 1.5, "min_p": -0.5}, {"top_p": 1.0, "min_p": 0.0}),
        ({"mirostat": 9}, {"mirostat": 2}),
        ({"seed": 42}, {"seed": 42}),
        ({"seed": -1}, {"seed": -1}),
        ({"seed": 2**32 - 1}, {"seed": -1}),
        ({"seed": 2**32 + 5}, {"seed": 5}),
        ({"seed": 7.0}, {"seed": 7}),
        ({"samplers": ["temp", "top_k"]}, {"samplers": ("temperature", "top_k")}),
        ({"samplers": "ekt"}, {"samplers": ("penalties", "top_k", "temperature")}),
        ({"samplers": []}, {"samplers": ()}),
        ({"samplers": "kia"}, {"samplers": ("top_k", "infill", "adaptive_p")}),
        ({"samplers": ["adaptive-p"]}, {"samplers": ("adaptive_p",)}),
        ({"adaptive_target": 1.5, "adaptive_decay": 0.5}, {"adaptive_target": 1.0, "adaptive_decay": 0.5}),
        ({"adaptive_target": -0.25}, {"adaptive_target": -0.25}),
        ({"logit_bias": {}}, {"logit_bias": ()}),
        ({"logit_bias": {"15": -1.5, "Hi": 2}}, {"logit_bias": ((15, -1.5), ("Hi", 2.0))}),
        ({"logit_bias": [[15, False], ["Hi", 1]]}, {"logit_bias": ((15, None), ("Hi", 1.0))}),
        ({"dry_sequence_breakers": ["x"]}, {"dry_sequence_breakers": ("x",)}),
        ({"ignore_eos": True}, {"ignore_eos": True}),
    ],
)
def test_values_are_read_and_kept_within_soft_limits(raw: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each field as clients may spell it."""
    sampling = sampling_of(raw)
    assert sampling == msgspec.structs.replace(Sampling(), **expected)
    for name, value in expected.items():
        assert type(getattr(sampling, name)) is type(value)


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"top_k": 1.5}, "top_k"),
        ({"repeat_last_n": -1}, "repeat_last_n"),
        ({"adaptive_decay": 1.0}, "adaptive_decay"),
        ({"samplers": ["top_q"]}, "samplers[0]"),
        ({"samplers": [1]}, "samplers[0]"),
        ({"samplers": "kq"}, "samplers"),
        ({"samplers": 5}, "samplers"),
        ({"logit_bias": "x"}, "logit_bias"),
        ({"logit_bias": [[1]]}, "logit_bias[0]"),
        ({"logit_bias": [[-1, 1]]}, "logit_bias[0][0]"),
        ({"logit_bias": [[1, "x"]]}, "logit_bias[0][1]"),
        ({"logit_bias": {"5": True}}, "logit_bias.5"),
        ({"dry_sequence_breakers": []}, "dry_sequence_breakers"),
        ({"dry_sequence_breakers": [5]}, "dry_sequence_breakers[0]"),
        ({"ignore_eos": 1}, "ignore_eos"),
    ],
)
def test_what_cannot_be_meant_is_refused(raw: dict[str, Any], param: str) -> None:
    """The refusal names the field."""
    with pytest.raises(BadRequest) as caught:
        sampling_of(raw)
    assert caught.value.param == param


def test_an_unknown_sampler_gets_the_nearest_name() -> None:
    """The message helps with spelling."""
    with pytest.raises(BadRequest, match="did you mean 'temperature'"):
        sampling_of({"samplers": ["temperatur"]})


_NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
_NAMES = sorted(name for name in Sampling.__struct_fields__ if isinstance(getattr(Sampling(), name), int | float))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(_NAMES), _NUMBERS))
def test_whatever_is_accepted_can_travel(raw: dict[str, Any]) -> None:
    """Any number is refused as a bad request, or fits the queue's 64-bit integers and the engine's floats."""
    try:
        sampling = sampling_of(raw)
    except BadRequest:
        return
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(sampling), type=Sampling) == sampling
    for name in _NAMES:
        assert abs(getattr(sampling, name)) < 3.5e38
