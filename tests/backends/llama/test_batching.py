"""What a step computes."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velesio.backends.llama.batching import TILE, Pace, Share, halve, next_tokens, piece, prompts


class Waiting(NamedTuple):
    """A sequence with tokens left to compute, under an id."""

    left: int
    cell: int = 0

    @property
    def together(self) -> int:
        """None of them steps through what it had."""
        return self.left


SEQUENCES = st.lists(st.builds(Waiting, st.integers(1, 40), st.integers(0, 99)), max_size=10)


def test_next_tokens_go_by_id() -> None:
    """One token for each that generates, neighbours side by side, never more than the batch holds."""
    sequences = [Waiting(1, 5), Waiting(9, 1), Waiting(1, 2), Waiting(1, 3)]
    assert [share.sequence.cell for share in next_tokens(sequences, 8)] == [2, 3, 5]
    assert [share.sequence.cell for share in next_tokens(sequences, 2)] == [2, 3]
    assert all(share.tokens == 1 for share in next_tokens(sequences, 8))


class Stepping(NamedTuple):
    """A sequence that has many tokens to compute, each by itself."""

    left: int = 9
    cell: int = 0
    together: int = 1


def test_who_steps_is_served_like_who_generates() -> None:
    """One token, beside the others; it is no prompt."""
    sequences = [Stepping(), Waiting(1, 1), Waiting(5, 2)]
    assert [share.sequence.cell for share in next_tokens(sequences, 8)] == [0, 1]
    assert [share.sequence.cell for share in prompts(sequences, 8, 8)] == [2]


@given(SEQUENCES, st.integers(0, 60))
def test_prompts_are_served_in_order_within_their_room(sequences: list[Waiting], room: int) -> None:
    """The first gets all it can use before the next gets any; nobody who generates is among them."""
    shares = prompts(sequences, room, 60)
    assert sum(share.tokens for share in shares) <= room
    assert [share.sequence for share in shares] == [item for item in sequences if item.left > 1][: len(shares)]
    for share in shares[:-1]:
        assert share.tokens == share.sequence.left


@given(SEQUENCES, st.integers(0, 60))
def test_a_prompt_is_never_cut_to_a_single_token(sequences: list[Waiting], room: int) -> None:
    """Neither what is computed nor what is left for later is one token."""
    for share in prompts(sequences, room, 60):
        assert share.tokens > 1
        assert share.sequence.left - share.tokens != 1


@pytest.mark.parametrize(
    ("left", "room", "computed"),
    [(40, 40, 40), (41, 40, 41), (60, 40, 60), (61, 40, 40), (30, 10, 30), (31, 10, 0), (41, 20, 20), (41, 19, 0)],
)
def test_a_prompt_is_not_cut_for_a_little(left: int, room: int, computed: int) -> None:
    """With 20 tokens to spare: the whole, if room and these suffice; else a piece of some size, or none."""
    shares = prompts([Waiting(left)], room, 500, spare=20)
    assert sum(share.tokens for share in shares) == computed


@given(SEQUENCES, st.integers(4, 60), st.booleans())
def test_prompts_get_on(sequences: list[Waiting], room: int, spares: bool) -> None:
    """With room for four tokens every prompt is finished in a bounded number of steps."""
    left = [item.left for item in sequences if item.left > 1]
    for _ in range(len(left) * 40):
        if not left:
            return
        shares = prompts([Waiting(tokens) for tokens in left], room, 7, spare=room // 2 if spares else 0)
        assert shares
        for place, share in enumerate(shares):
            left[place] -= share.tokens
        left = [tokens for tokens in left if tokens]
    assert not left


def test_halving_ends() -> None:
    """Single tokens cannot be halved."""
    shares = [Share(Waiting(9), 5), Share(Waiting(1), 1)]  # type: ignore[arg-type]
    assert [share.tokens for share in halve(shares)] == [3, 1]
    assert halve([Share(Waiting(1), 1)]) == []  # type: ignore[arg-type]


def test_the_pace_follows_the_machine() -> None:
    """Prompt tokens fit into the pause; four times as many while nobody waits; never below 16 or above the batch."""
    pace = Pace(most=512, pause=0.5)
    for _ in range(30):
        pace.observe(100, 1.0)
    assert pace.prompt_tokens(generating=True) == pytest.approx(50, abs=2)
    assert pace.prompt_tokens(generating=False) == pytest.approx(200, abs=4)
    for _ in range(30):
        pace.observe(100, 0.001)
    assert pace.prompt_tokens(generating=True) == 512
    for _ in range(60):
        pace.observe(16, 100.0)
    assert pace.prompt_tokens(generating=True) == 16


def test_small_batches_say_nothing_of_the_pace() -> None:
    """A few tokens take as long as one."""
    pace = Pace(most=512, pause=0.5)
    before = pace.prompt_tokens(generating=True)
    pace.observe(3, 0.001)
    assert pace.prompt_tokens(generating=True) == before


def cut(length: int, most: int, rooms: list[int]) -> list[tuple[int, bool]]:
    """The pieces of a prompt in steps with so much room, the last again and again; and whether each is in tiles."""
    pieces: list[tuple[int, bool]] = []
    left = length
    for step in range(100):
        if left < 2:
            break
        tokens = piece(left, rooms[min(step, len(rooms) - 1)], most, TILE)
        pieces += [(tokens, tokens >= TILE)] if tokens else []
        left -= tokens
    return pieces


@given(st.integers(2, 400), st.sampled_from([64, 100, 128, 512]), st.lists(st.integers(64, 600), min_size=1))
def test_what_is_computed_in_tiles_depends_on_the_length_alone(length: int, most: int, rooms: list[int]) -> None:
    """However much room steps have: the same tokens are computed in tiles, and no piece is larger than may be."""
    pieces = cut(length, most, rooms)
    assert sum(tokens for tokens, _ in pieces) >= length - 1
    assert all(2 <= tokens <= most for tokens, _ in pieces)
    tiled = sum(tokens for tokens, in_tiles in pieces if in_tiles)
    assert tiled == sum(tokens for tokens, in_tiles in cut(length, most, [10_000]) if in_tiles)
    assert pieces == sorted(pieces, key=lambda each: not each[1])
