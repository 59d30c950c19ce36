"""`Sampling` as a chain: llama.cpp's order, nothing that does nothing, errors with names."""

from collections.abc import Iterable

import pytest

from velesio.backends.llama.sampling import Plan, plan, seed_of
from velesio.errors import BadRequest
from velesio.jobs import Sampling

INFINITY = float("inf")


def planned(**fields: object) -> Plan:
    def tokenize(text: str) -> Iterable[int]:
        return [ord(character) for character in text]

    return plan(
        Sampling(**fields),  # type: ignore[arg-type]
        context=1000,
        tokenize=tokenize,
        end_tokens=lambda: [2, 3],
        vocabulary=500,
    )


def names(**fields: object) -> list[str]:
    return [step.name for step in planned(seed=1, **fields).steps]


ALL = {
    "repeat_penalty": 1.1,
    "dry_multiplier": 0.8,
    "top_n_sigma": 1.0,
    "typical_p": 0.9,
    "xtc_probability": 0.5,
    "temperature": 0.7,
}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["top_k", "top_p", "min_p", "temp", "dist"]),
        ({"temperature": 0}, ["greedy"]),
        ({"temperature": -1.0}, ["greedy"]),
        ({"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}, ["dist"]),
        (
            ALL,
            ["penalties", "dry", "top_n_sigma", "top_k", "typical", "top_p", "min_p", "xtc", "temp", "dist"],
        ),
        (ALL | {"temperature": 0}, ["penalties", "dry", "typical", "xtc", "greedy"]),
        ({"samplers": ("temperature", "top_k")}, ["temp", "top_k", "dist"]),
        ({"samplers": ()}, ["dist"]),
        ({"dynatemp_range": 0.2}, ["top_k", "top_p", "min_p", "temp_ext", "dist"]),
        ({"mirostat": 1, "repeat_penalty": 2.0}, ["temp", "mirostat"]),
        ({"mirostat": 2}, ["temp", "mirostat_v2"]),
        ({"mirostat": 2, "temperature": 0}, ["greedy"]),
        ({"ignore_eos": True, "temperature": 0}, ["logit_bias", "greedy"]),
        ({"presence_penalty": 0.5, "repeat_last_n": 0, "temperature": 0}, ["greedy"]),
        ({"samplers": ("adaptive_p", "top_k"), "adaptive_target": 0.5}, ["top_k", "adaptive_p"]),
        ({"samplers": ("top_k", "adaptive_p")}, ["top_k", "dist"]),
        ({"adaptive_target": 0.5, "samplers": ("top_k",)}, ["top_k", "dist"]),
        ({"samplers": ("top_k", "adaptive_p"), "adaptive_target": 0.5, "temperature": 0}, ["greedy"]),
        ({"samplers": ("infill", "top_k")}, ["infill", "top_k", "dist"]),
        ({"mirostat": 2, "samplers": ("adaptive_p",), "adaptive_target": 0.5}, ["temp", "mirostat_v2"]),
    ],
)
def test_the_chain_has_llama_cpps_order(fields: dict[str, object], expected: list[str]) -> None:
    """Samplers come in the order asked for; those that would change nothing are left out."""
    assert names(**fields) == expected


@pytest.mark.parametrize(
    ("fields", "unwanted"),
    [
        ({"temperature": 0}, set()),
        ({"temperature": 0, "ignore_eos": True, "logit_bias": ((7, -1.0), ("a", None))}, {2, 3, 7, ord("a")}),
        ({"temperature": 0, "logit_bias": ((7, 1.0),)}, None),
        ({"temperature": 0, "presence_penalty": 0.5}, None),
        ({"temperature": 0, "typical_p": 0.5}, None),
        ({"temperature": 0.1}, None),
        ({"temperature": 0, "samplers": ("infill",)}, None),
    ],
)
def test_a_plain_greedy_choice_is_known_for_one(fields: dict[str, object], unwanted: set[int] | None) -> None:
    """Only biases may take part, and only such as make tokens less likely."""
    assert planned(**fields).unwanted == unwanted


def test_arguments_are_those_of_the_c_functions() -> None:
    """Each step carries its constructor's arguments in order."""
    steps = {
        step.name: step.arguments
        for step in planned(seed=5, **(ALL | {"frequency_penalty": 0.2, "presence_penalty": 0.3, "min_keep": 2})).steps
    }
    assert steps["penalties"] == (64, 1.1, 0.2, 0.3)
    assert steps["dry"] == (0.8, 1.75, 2, 64, (b"\n", b":", b'"', b"*"))
    assert steps["top_p"] == (0.95, 2)
    assert steps["xtc"] == (0.5, 0.1, 2, 5)
    assert steps["dist"] == (5,)
    adaptive = planned(seed=5, samplers=("adaptive_p",), adaptive_target=0.25, adaptive_decay=0.5).steps
    assert adaptive[-1].arguments == (0.25, 0.5, 5)
    low = planned(dry_multiplier=1.0, dry_base=0.5, dry_sequence_breakers=("x",)).steps
    assert next(step.arguments for step in low if step.name == "dry") == (1.0, 1.75, 2, 64, (b"x",))


@pytest.mark.parametrize(
    ("fields", "history"),
    [
        ({}, 0),
        ({"repeat_penalty": 1.1}, 64),
        ({"repeat_penalty": 1.1, "repeat_last_n": -1}, 1000),
        ({"repeat_penalty": 1.1, "repeat_last_n": 5000}, 1000),
        ({"repeat_penalty": 1.1, "dry_multiplier": 1.0, "dry_penalty_last_n": 200}, 200),
    ],
)
def test_history_is_what_the_penalties_look_at(fields: dict[str, object], history: int) -> None:
    """-1 means the whole context."""
    assert planned(**fields).history == history


def test_biases_take_ids_and_texts() -> None:
    """A text biases each of its tokens; None forbids; `ignore_eos` forbids every end token."""
    chain = planned(logit_bias=((7, 1.5), ("ab", -2.0), ("c", None)), ignore_eos=True)
    assert chain.steps[0].arguments[0] == (
        (7, 1.5),
        (97, -2.0),
        (98, -2.0),
        (99, -INFINITY),
        (2, -INFINITY),
        (3, -INFINITY),
    )


def test_tokens_that_the_model_suppresses_are_forbidden() -> None:
    """As the model's file says, besides what the request forbids."""
    chain = plan(
        Sampling(logit_bias=((7, 1.5),)),
        context=10,
        tokenize=lambda _text: (),
        end_tokens=lambda: (),
        vocabulary=500,
        suppressed=(8,),
    )
    assert chain.steps[0].arguments[0] == ((7, 1.5), (8, -INFINITY))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"samplers": ("top_k", "magic")}, "magic.*typ_p"),
        ({"logit_bias": ((500, 1.0),)}, "500.*499"),
        ({"logit_bias": ((-1, 1.0),)}, "-1"),
        ({"mirostat": 3}, "mirostat"),
        ({"repeat_penalty": 0.0}, "repeat_penalty"),
        ({"dry_multiplier": 1.0, "dry_sequence_breakers": ("x",) * 17}, "at most 16"),
    ],
)
def test_errors_say_what_is_known(fields: dict[str, object], message: str) -> None:
    """Bad values are the request's fault, and the message helps."""
    with pytest.raises(BadRequest, match=message):
        planned(**fields)


def test_seeds_are_32_bits_and_drawn_when_asked() -> None:
    """-1, and llama.cpp's own word for it, draw a seed; others are kept."""
    assert seed_of(42) == 42
    assert seed_of(2**32 + 5) == 5
    assert len({seed_of(-1) for _ in range(20)}) > 1
    assert len({seed_of(0xFFFFFFFF) for _ in range(20)}) > 1
    assert all(0 <= seed_of(-1) < 0xFFFFFFFF for _ in range(100))
