"""The prefix cache's bookkeeping, against cells that are played by plain lists."""

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velesio.backends.llama.prefix_cache import Claim, PrefixCache, common_prefix


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


def test_the_same_prompt_again_computes_one_token() -> None:
    """The last token is always computed, for its logits."""
    cache = PrefixCache(2, share=True)
    run(cache, "hello")
    assert cache.claim(tokens("hello")).length == 4


def test_a_conversation_goes_on_in_its_own_cells() -> None:
    """A prompt that begins with all of a kept sequence takes its id over; nothing is copied."""
    cache = PrefixCache(4, share=True)
    first = run(cache, "hello")
    claim = cache.claim(tokens("hello world"))
    assert claim == Claim(first.sequence, 5, first.sequence)
    assert claim.keep == 5


def test_a_shared_prefix_is_copied_and_stays() -> None:
    """Where a prompt parts from a kept sequence, its prefix is shared, and the kept one can still be reused."""
    cache = PrefixCache(4, share=True)
    first = run(cache, "system:one")
    second = cache.claim(tokens("system:two"))
    assert second.length == len("system:")
    assert (second.source, second.keep) == (first.sequence, 0)
    assert second.sequence != first.sequence
    assert cache.claim(tokens("system:one more")).length == len("system:one")


def test_a_running_sequence_shares_what_it_has_computed() -> None:
    """Only computed tokens count."""
    cache = PrefixCache(4, share=True)
    first = cache.claim(tokens("abcdef"))
    cache.extend(first.sequence, tokens("abc"))
    second = cache.claim(tokens("abcdef"))
    assert (second.source, second.length) == (first.sequence, 3)


def test_without_sharing_only_kept_ids_are_reused_in_place() -> None:
    """Separate streams: cells cannot be lent; a kept id with a good prefix is cut and taken over."""
    cache = PrefixCache(2, share=False)
    first = cache.claim(tokens("abcdef"))
    cache.extend(first.sequence, tokens("abcdef"))
    second = cache.claim(tokens("abcdef"))
    assert (second.length, second.source) == (0, second.sequence)
    cache.release(first.sequence)
    third = cache.claim(tokens("abcxyz"))
    assert third == Claim(first.sequence, 3, first.sequence)


def test_without_sharing_a_small_prefix_does_not_cost_a_conversation() -> None:
    """A free id is taken rather than one of which less than a tenth is of use."""
    cache = PrefixCache(2, share=False)
    first = run(cache, "a" + "b" * 50)
    assert cache.claim(tokens("a" + "c" * 50)).sequence != first.sequence


def test_states_that_cannot_be_cut_are_reused_whole_or_not_at_all() -> None:
    """Recurrent models: all of a kept sequence must be wanted."""
    cache = PrefixCache(3, share=True, whole=True)
    first = run(cache, "abc")
    assert cache.claim(tokens("abx")).length == 0
    assert cache.claim(tokens("abcd")) == Claim(first.sequence, 3, first.sequence)
    assert not cache.shares


def test_the_sequence_used_longest_ago_goes_first() -> None:
    """With no free id the oldest kept one is given up, but not the one whose prefix is wanted."""
    cache = PrefixCache(3, share=True)
    oldest, middle, youngest = (run(cache, text).sequence for text in ("aaaa", "bbbb", "cccc"))
    claim = cache.claim(tokens("aaxx"))
    assert (claim.source, claim.sequence, claim.length) == (oldest, middle, 2)
    assert cache.evict() == oldest
    assert cache.evict() == youngest
    assert cache.evict() is None


def test_what_another_sequence_holds_is_not_kept_twice() -> None:
    """Releasing a sequence whose tokens another id holds too frees its id."""
    cache = PrefixCache(3, share=True)
    for _ in range(3):
        run(cache, "hello")
    assert cache.kept == 1


@pytest.mark.parametrize("options", [{"reuse": False}, {"namespace": "other"}])
def test_reuse_can_be_declined_and_kept_apart(options: dict[str, object]) -> None:
    """Neither a job that wants no reuse nor another namespace gets a prefix."""
    cache = PrefixCache(3, share=True)
    run(cache, "hello")
    assert cache.claim(tokens("hello"), **options).length == 0  # type: ignore[arg-type]


JOBS = st.lists(
    st.tuples(st.text("ab", min_size=1, max_size=8), st.sampled_from(["end", "end unkept", "stay", "evict"])),
    max_size=30,
)


@settings(max_examples=200)
@given(JOBS, st.booleans(), st.booleans())
def test_claims_always_describe_the_cells(jobs: list[tuple[str, str]], share: bool, whole: bool) -> None:
    """Played with real cells: what a claim calls computed is exactly the prompt's prefix, running sequences are
    never taken, and no id is used twice."""
    cache = PrefixCache(4, share=share, whole=whole)
    cells: dict[int, list[int]] = {}
    running: list[int] = []
    for text, then in jobs:
        if len(running) == 4:
            cache.release(running.pop(0), keep=True)
        claim = cache.claim(tokens(text))
        assert claim.sequence not in running
        held = cells.get(claim.sequence, [])
        assert not whole or claim.keep in {0, len(held)}
        cells[claim.sequence] = held[: claim.keep]
        if claim.source != claim.sequence:
            assert share
            cells[claim.sequence] = cells[claim.source][: claim.length]
        assert cells[claim.sequence] == list(tokens(text))[: claim.length]
        assert claim.length < len(text)
        cells[claim.sequence] = list(tokens(text))
        cache.extend(claim.sequence, tokens(text)[claim.length :])
        if then == "stay":
            running.append(claim.sequence)
            continue
        if not cache.release(claim.sequence, keep=then != "end unkept"):
            cells[claim.sequence] = []
        if then == "evict" and (victim := cache.evict()) is not None:
            assert victim not in running
            cells[victim] = []
