"""The prefix cache's bookkeeping, against cells that are played by plain lists."""

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velesio.backends.llama.prefix_cache import LEFT, Claim, Evicted, PrefixCache, common_prefix


def tokens(text: str) -> "array[int]":
    return array("i", [ord(character) for character in text])


def run(cache: PrefixCache, text: str, *, keep: bool = True, **options: object) -> Claim:
    """A sequence from claim to release, all of whose tokens are computed."""
    claim = cache.claim(tokens(text), **options)  # type: ignore[arg-type]
    cache.extend(claim.sequence, tokens(text)[claim.length :])
    cache.release(claim.sequence, keep=keep)
    return claim


@given(st.lists(st.integers(0, 1), max_size=40), st.lists(st.integers(0, 1), max_size=40))
def test_common_prefix_counts_equal_tokens(left: list[int], right: list[int]) -> None:
    """The length of the longest prefix that both have."""
    expected = 0
    while expected < min(len(left), len(right)) and left[expected] == right[expected]:
        expected += 1
    assert common_prefix(array("i", left), array("i", right)) == expected


def test_the_same_prompt_again_computes_its_last_tokens() -> None:
    """The last token is wanted for its logits, and never computed alone."""
    cache = PrefixCache(2)
    run(cache, "hello")
    assert cache.claim(tokens("hello")).length == 5 - LEFT


def test_a_conversation_goes_on_in_its_own_cells() -> None:
    """A prompt that begins with all of a kept sequence takes its id over; nothing is copied."""
    cache = PrefixCache(4)
    first = run(cache, "hello")
    claim = cache.claim(tokens("hello world"))
    assert claim == Claim(first.sequence, 5, first.sequence)
    assert claim.keep == 5


def test_a_shared_prefix_is_copied_and_stays() -> None:
    """Where a prompt parts from a kept sequence, its prefix is copied, and the kept one can still be reused."""
    cache = PrefixCache(4)
    first = run(cache, "system:one")
    second = cache.claim(tokens("system:two"))
    assert second.length == len("system:")
    assert (second.source, second.keep) == (first.sequence, 0)
    assert second.sequence != first.sequence
    assert cache.claim(tokens("system:one more")).length == len("system:one")


def test_a_running_sequence_shares_what_it_has_computed() -> None:
    """Only computed tokens count."""
    cache = PrefixCache(4)
    first = cache.claim(tokens("abcdef"))
    cache.extend(first.sequence, tokens("abc"))
    second = cache.claim(tokens("abcdef"))
    assert (second.source, second.length) == (first.sequence, 3)


def test_a_short_prefix_is_not_worth_a_copy() -> None:
    """Below `least` tokens only what need not be copied is reused."""
    cache = PrefixCache(2, least=4)
    first = run(cache, "abcd")
    assert cache.claim(tokens("abc and more")).length == 0
    assert cache.claim(tokens("abc too"))[:3] == Claim(first.sequence, 3, first.sequence)[:3]


def test_with_no_free_id_a_kept_one_is_cut_where_the_prompt_parts() -> None:
    """The only kept id gives way to a sequence that shares its begin, which stays."""
    cache = PrefixCache(1)
    run(cache, "abcdef")
    assert cache.claim(tokens("abcxyz")) == Claim(0, 3, 0, Evicted(0, tokens("abcdef"), "", 6))


def test_states_that_cannot_be_cut_are_reused_whole_or_not_at_all() -> None:
    """Recurrent models: all of a kept sequence must be wanted."""
    cache = PrefixCache(3, whole=True)
    first = run(cache, "abc")
    assert cache.claim(tokens("abxyz")).length == 0
    assert cache.claim(tokens("abcdef")) == Claim(first.sequence, 3, first.sequence)
    assert not cache.shares


def test_the_sequence_used_longest_ago_goes_first() -> None:
    """With no free id the oldest kept one is given up, but not the one whose prefix is wanted."""
    cache = PrefixCache(3)
    oldest, middle, youngest = (run(cache, text).sequence for text in ("aaaa", "bbbb", "cccc"))
    claim = cache.claim(tokens("aaxx"))
    assert (claim.source, claim.sequence, claim.length) == (oldest, middle, 2)
    assert cache.evict() == (oldest, tokens("aaaa"), "", 2)
    assert cache.evict() == (youngest, tokens("cccc"), "", 4)
    assert cache.evict() is None


def test_no_id_is_given_twice() -> None:
    """Claiming more sequences than there are is the caller's mistake."""
    cache = PrefixCache(2)
    assert {cache.claim(tokens("a")).sequence, cache.claim(tokens("b")).sequence} == {0, 1}
    with pytest.raises(LookupError):
        cache.claim(tokens("c"))


def test_what_another_sequence_holds_is_not_kept_twice() -> None:
    """Releasing a sequence whose tokens another id holds too frees its id."""
    cache = PrefixCache(3)
    for _ in range(3):
        run(cache, "hello")
    assert cache.kept == 1


@pytest.mark.parametrize("options", [{"reuse": False}, {"namespace": "other"}])
def test_reuse_can_be_declined_and_kept_apart(options: dict[str, object]) -> None:
    """Neither a job that wants no reuse nor another namespace gets a prefix."""
    cache = PrefixCache(3)
    run(cache, "hello")
    assert cache.claim(tokens("hello"), **options).length == 0  # type: ignore[arg-type]


def test_what_is_hidden_is_neither_lent_nor_kept() -> None:
    """A sequence whose cells no longer are its tokens' prefix."""
    cache = PrefixCache(3)
    claim = cache.claim(tokens("hello world"))
    cache.extend(claim.sequence, tokens("hello"))
    cache.hide(claim.sequence)
    cache.extend(claim.sequence, tokens("x"))
    assert cache.reusable(tokens("hello you")) == 0
    assert not cache.release(claim.sequence)
    assert cache.tokens == 0


def layout(cache: PrefixCache, plan: str) -> None:
    """Puts a running (r), kept (k) or no sequence (.) under each id in order."""
    claims = [cache.claim(tokens(f"{number:04}")) for number in range(len(plan))]
    for claim, state in zip(claims, plan, strict=True):
        cache.extend(claim.sequence, tokens(f"{claim.sequence:04}")[claim.length :])
        if state != "r":
            cache.release(claim.sequence, keep=state == "k")


@pytest.mark.parametrize(
    ("plan", "moves"),
    [
        ("rrr...", []),
        ("..rr..", []),
        ("r.r.", [(2, 1)]),
        ("r..rr.", [(0, 2)]),
        ("rk r".replace(" ", "."), [(1, 2), (3, 1)]),
        ("rkr", [(2, 1)]),
        ("rkrk", [(2, 1)]),
        ("k.rkr", [(4, 1)]),
        ("......", []),
    ],
)
def test_running_sequences_are_gathered(plan: str, moves: list[tuple[int, int]]) -> None:
    """As few moves as bring the running ids together; kept ones make way, or are given up where nothing is free."""
    cache = PrefixCache(len(plan))
    layout(cache, plan)
    assert cache.gather() == moves
    assert cache.gather() == []


def common(left: list[int], right: list[int]) -> int:
    return next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))


JOBS = st.lists(
    st.tuples(st.text("ab", min_size=1, max_size=8), st.sampled_from(["end", "end unkept", "stay", "evict", "gather"])),
    max_size=30,
)


@settings(max_examples=300)
@given(JOBS, st.integers(1, 4), st.booleans())
def test_claims_always_describe_the_cells(jobs: list[tuple[str, str]], least: int, whole: bool) -> None:
    """Played with real cells: what a claim calls computed is exactly the prompt's prefix, running sequences keep
    their cells, and no id is used twice."""
    cache = PrefixCache(4, least=least, whole=whole)
    cells: dict[int, list[int]] = {}
    running: dict[int, list[int]] = {}
    for text, then in jobs:
        wanted = list(tokens(text))
        if len(running) == 4:
            cache.release(next(iter(running)))
            running.pop(next(iter(running)))
        longest = max((common(held, wanted[:-LEFT]) for held in cells.values()), default=0)
        promised = cache.reusable(tokens(text))
        claim = cache.claim(tokens(text))
        assert claim.length == promised
        assert whole or promised == longest or (promised == 0 and longest < least)
        assert claim.sequence not in running
        held = cells.get(claim.sequence, [])
        assert not whole or claim.keep in {0, len(held)}
        cells[claim.sequence] = held[: claim.keep]
        if claim.source != claim.sequence:
            assert not whole
            assert claim.length >= least
            cells[claim.sequence] = cells[claim.source][: claim.length]
        assert cells[claim.sequence] == wanted[: claim.length]
        assert len(text) - claim.length >= min(LEFT, len(text))
        cells[claim.sequence] = wanted
        cache.extend(claim.sequence, tokens(text)[claim.length :])
        if then in {"stay", "gather"}:
            running[claim.sequence] = wanted
        elif not cache.release(claim.sequence, keep=then != "end unkept"):
            cells[claim.sequence] = []
        if then == "evict" and (victim := cache.evict()) is not None:
            assert victim.sequence not in running
            assert list(victim.tokens) == cells[victim.sequence]
            cells[victim.sequence] = []
        for move in cache.gather() if then == "gather" else []:
            assert move.target not in running
            cells[move.target], cells[move.source] = cells[move.source], []
            if move.source in running:
                running[move.target] = running.pop(move.source)
        if then == "gather":
            assert max(running) - min(running) == len(running) - 1
        assert all(cells[sequence] == expected for sequence, expected in running.items())


def test_cells_that_several_hold_count_once() -> None:
    """`tokens` counts a prefix for each id, `occupied` only once, and what ended jobs left is in neither of those that
    run."""
    cache = PrefixCache(4)
    run(cache, "another thing")
    one = cache.claim(tokens("system:one"))
    cache.extend(one.sequence, tokens("system:one"))
    two = cache.claim(tokens("system:two"))
    cache.extend(two.sequence, tokens("two"))
    assert (cache.running_tokens, cache.occupied) == (20, 13)
    assert cache.tokens == 33
    cache.release(one.sequence)
    assert (cache.running_tokens, cache.occupied) == (10, 10)
