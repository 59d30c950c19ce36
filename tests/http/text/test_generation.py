"""Fields of every text request: limits, stops, choices, prompts."""

from typing import Any

import pytest

from velesio.errors import BadRequest
from velesio.http.media import MOST
from velesio.http.text.generation import completions_of, generation_of, stops_of
from velesio.http.text.logprobs import Probs
from velesio.http.text.prompts import prompts_of
from velesio.jobs import Grammar


@pytest.mark.parametrize(
    ("raw", "limit"),
    [
        ({}, -1),
        ({"n_predict": 5}, 5),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 5}, 5),
        ({"n_predict": 1, "max_completion_tokens": 2, "max_tokens": 3}, 1),
        ({"max_completion_tokens": 2, "max_tokens": 3}, 2),
        ({"n_predict": 0}, 0),
        ({"n_predict": 8.0}, 8),
    ],
)
def test_the_limit_has_three_names(raw: dict[str, Any], limit: int) -> None:
    """The first in llama.cpp's order counts."""
    assert generation_of(raw).text.max_tokens == limit


def test_a_bad_limit_is_named_as_it_was_given() -> None:
    """A client that wrote max_tokens hears of max_tokens."""
    with pytest.raises(BadRequest) as caught:
        generation_of({"max_tokens": -5})
    assert caught.value.param == "max_tokens"
    with pytest.raises(BadRequest):
        generation_of({"n_predict": 2**31})


@pytest.mark.parametrize(
    ("value", "stops"), [("a", ("a",)), (["a", "", "b"], ("a", "b")), ("", ()), ([], ()), (["a"] * 2, ("a", "a"))]
)
def test_stops(value: Any, stops: tuple[str, ...]) -> None:
    """A string or a list; empty strings would stop at once."""
    assert stops_of(value) == stops


def test_choices_with_a_seed_differ() -> None:
    """Each choice has the next seed; without one each draws its own."""
    assert [sampling.seed for sampling in generation_of({"n": 3, "seed": 7}).samplings] == [7, 8, 9]
    assert [sampling.seed for sampling in generation_of({"n_cmpl": 2}).samplings] == [-1, -1]
    assert [sampling.seed for sampling in generation_of({"n": 2, "seed": 2**32 - 2}).samplings] == [2**32 - 2, 0]


@pytest.mark.parametrize("choices", [0, -1, 129])
def test_choices_have_limits(choices: int) -> None:
    """One to 128."""
    with pytest.raises(BadRequest) as caught:
        generation_of({"n": choices})
    assert caught.value.param == "n"


@pytest.mark.parametrize(
    ("value", "prompts"),
    [
        ("a", ["a"]),
        ("", [""]),
        ([1, 2], [[1, 2]]),
        ([1.0, 2], [[1, 2]]),
        ([1, "a", 2], [[1, "a", 2]]),
        (["a", "b"], ["a", "b"]),
        (["a"], ["a"]),
        (["a", [1, "b"]], ["a", [1, "b"]]),
        ({"prompt_string": "a"}, ["a"]),
        ([{"prompt_string": "a", "multimodal_data": []}, "b"], ["a", "b"]),
    ],
)
def test_prompts(value: Any, prompts: list[Any]) -> None:
    """A list with a number in it is one prompt, any other list is several."""
    assert [prompt for prompt, _ in prompts_of(value)] == prompts


@pytest.mark.parametrize(
    ("value", "param"),
    [
        (5, "prompt"),
        (True, "prompt"),
        ([], "prompt"),
        ([[]], "prompt[0]"),
        ([1, None], "prompt[1]"),
        ([1, True], "prompt[1]"),
        ([1, -1], "prompt[1]"),
        ([1, 2**40], "prompt[1]"),
        ([1, 1.5], "prompt[1]"),
        (["a", 1.5], "prompt[1]"),
        (["a", {}], "prompt[1]"),
        ([True], "prompt[0]"),
        ({}, "prompt"),
    ],
)
def test_bad_prompts_are_named(value: Any, param: str) -> None:
    """The refusal names the item."""
    with pytest.raises(BadRequest) as caught:
        prompts_of(value)
    assert caught.value.param == param


def test_pictures_come_with_their_prompt() -> None:
    """As bytes, one for each marker."""
    value = [{"prompt_string": "a <__media__>", "multimodal_data": ["aGk="]}, "b"]
    assert prompts_of(value) == [("a <__media__>", (b"hi",)), ("b", ())]
    first, second = completions_of({"prompt": value}, generation_of({}))
    assert (first.media, second.media) == ((b"hi",), ())


@pytest.mark.parametrize(
    ("data", "param"),
    [("aGk=", ""), ([5], "[0]"), (["aGk=", "?"], "[1]"), ([""], "[0]"), (["aGk="] * (MOST + 1), f"[{MOST}]")],
)
def test_bad_pictures_are_named(data: Any, param: str) -> None:
    """By their place."""
    with pytest.raises(BadRequest) as caught:
        prompts_of({"prompt_string": "a", "multimodal_data": data})
    assert caught.value.param == f"prompt.multimodal_data{param}"


def test_form_and_probabilities_reach_every_choice() -> None:
    """As the route read them."""
    generation = generation_of({"n": 2, "t_max_predict_ms": 1500}, Grammar(gbnf="g"), Probs(3, post=True))
    for params in completions_of({"prompt": "a"}, generation):
        assert (params.grammar, params.n_probs, params.post_sampling_probs) == (Grammar(gbnf="g"), 3, True)
        assert params.max_seconds == 1.5


def test_prompts_times_choices() -> None:
    """A completion for each, those of one prompt together; too many are refused."""
    raw = {"prompt": ["a", "b"], "n": 2, "seed": 1, "stop": "x", "max_tokens": 3, "cache_prompt": False}
    found = completions_of(raw, generation_of(raw))
    assert [(each.prompt, each.sampling.seed) for each in found] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert {(each.stop, each.max_tokens, each.cache_prompt) for each in found} == {(("x",), 3, False)}
    raw = {"prompt": ["a", "b"], "n": 65}
    with pytest.raises(BadRequest, match="at most 128"):
        completions_of(raw, generation_of(raw))
    with pytest.raises(BadRequest, match="required"):
        completions_of({}, generation_of({}))
