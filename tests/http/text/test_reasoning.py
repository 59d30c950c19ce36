"""What a chat says of its reasoning."""

from typing import Any

import pytest

from velesio.errors import BadRequest
from velesio.http.text.reasoning import Reasoning, reasoning_of


@pytest.mark.parametrize(
    ("raw", "kwargs"),
    [
        ({}, {}),
        ({"chat_template_kwargs": {"enable_thinking": False}}, {"enable_thinking": False}),
        ({"enable_thinking": False}, {"enable_thinking": False}),
        ({"reasoning_effort": "none"}, {"enable_thinking": False}),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ({"reasoning_effort": "none", "enable_thinking": True}, {"enable_thinking": True}),
        ({"enable_thinking": False, "chat_template_kwargs": {"enable_thinking": True}}, {"enable_thinking": True}),
    ],
)
def test_variables_of_the_template(raw: dict[str, Any], kwargs: dict[str, Any]) -> None:
    """What is given by name counts more than what the effort means."""
    assert reasoning_of(raw).kwargs == kwargs


@pytest.mark.parametrize(
    ("raw", "budget"),
    [
        ({}, -1),
        ({"reasoning_budget_tokens": 5, "thinking_budget_tokens": 6}, 5),
        ({"thinking_budget_tokens": 6.0}, 6),
        ({"reasoning_budget": 7}, 7),
        ({"reasoning_effort": "none"}, 0),
        ({"reasoning_effort": "none", "reasoning_budget_tokens": 9}, 9),
    ],
)
def test_budgets(raw: dict[str, Any], budget: int) -> None:
    """By three names; no effort is no reasoning."""
    assert reasoning_of(raw).budget == budget


def test_where_it_is_told() -> None:
    """llama.cpp's names."""
    assert reasoning_of({"reasoning_format": "none"}) == Reasoning("none", -1, {})


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({"chat_template_kwargs": "x"}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"enable_thinking": "false"}}, "chat_template_kwargs.enable_thinking"),
        ({"chat_template_kwargs": {"n": 2**70}}, "chat_template_kwargs"),
        ({"enable_thinking": "false"}, "enable_thinking"),
        ({"reasoning_effort": 3}, "reasoning_effort"),
        ({"reasoning_format": "xml"}, "reasoning_format"),
        ({"reasoning_format": []}, "reasoning_format"),
        ({"reasoning_budget_tokens": -2}, "reasoning_budget_tokens"),
        ({"thinking_budget_tokens": "many"}, "thinking_budget_tokens"),
    ],
)
def test_bad_fields_are_named(raw: dict[str, Any], param: str) -> None:
    """Also a number that the queue cannot carry."""
    with pytest.raises(BadRequest) as caught:
        reasoning_of(raw)
    assert caught.value.param == param
