"""The prefix cache's bookkeeping, against cells that are played by plain lists."""

from array import array
from itertools import product

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


BITS = st.lists(st.sampled_from([0, 200]), max_size=40)


@given(BITS, BITS)
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
    assert second.lost is None
    assert cache.claim(tokens("system:one more")).length == len("system:one")


def test_one_token_is_worth_a_copy_unless_told_otherwise() -> None:
    """`least` is 1 by default."""
    cache = PrefixCache(2)
    run(cache, "abcd")
    assert cache.claim(tokens("axyz")).length == 1


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
    assert cache.claim(tokens("abcdef")).length == 0  # what runs in the id by now is not to be had


def test_states_that_cannot_be_cut_are_looked_for_all_the_way() -> None:
    """The longest of the kept states that the prompt begins with; none that the prompt leaves halfway."""
    cache = PrefixCache(4, whole=True)
    one, two = run(cache, "ab"), cache.claim(tokens("abcd"), reuse=True)
    assert two.sequence != one.sequence or two.length == 2
    cache.extend(two.sequence, tokens("abcd")[two.length :])
    cache.release(two.sequence)
    assert cache.reusable(tokens("abcxyz")) == 0
    assert cache.reusable(tokens("abcdxyz")) == 4


def test_the_sequence_used_longest_ago_goes_first() -> None:
    """With no free id the oldest kept one is given up, but not the one whose prefix is wanted."""
    cache = PrefixCache(3)
    oldest, middle, youngest = (run(cache, text).sequence for text in ("aaaa", "bbbb", "cccc"))
    claim = cache.claim(tokens("aaxx"))
    assert (claim.source, claim.sequence, claim.length) == (oldest, middle, 2)
    assert cache.evict() == (oldest, tokens("aaaa"), "", 2)
    assert cache.evict() == (youngest, tokens("cccc"), "", 4)
    assert cache.evict() is None


def test_use_counts_and_not_the_number_of_an_id() -> None:
    """An id that was used again is younger than one that came after it; a prompt that shares nothing spares nobody."""
    cache = PrefixCache(2)
    first, second = run(cache, "aaaa").sequence, run(cache, "bbbb").sequence
    assert run(cache, "aaaaaa").sequence == first
    claim = cache.claim(tokens("cccc"))
    assert (claim.sequence, claim.lost) == (second, Evicted(second, tokens("bbbb"), "", 4))
    cache.release(claim.sequence, keep=False)
    run(cache, "dddd")
    run(cache, "aaaaaaaa")
    assert [cache.evict(), cache.evict()] == [
        Evicted(second, tokens("dddd"), "", 4),
        Evicted(first, tokens("aaaaaaaa"), "", 8),
    ]


def test_of_several_that_hold_a_prefix_the_one_that_ends_there_goes_on() -> None:
    """It need not be copied, while one that goes on would be, however young."""
    cache = PrefixCache(4)
    short = run(cache, "abcd")
    long = run(cache, "abcdx")
    assert short.sequence != long.sequence
    assert cache.claim(tokens("abcdzz")) == Claim(short.sequence, 4, short.sequence)


@pytest.mark.parametrize("wanted", ["abczz", "abcdezz", "abcde1zz"])
def test_of_several_that_hold_a_prefix_the_youngest_kept_one_lends(wanted: str) -> None:
    """Kept before running, then the one used last: it will stay longest."""
    cache = PrefixCache(5)
    claims = [cache.claim(tokens("abcde" + "1" * count)) for count in (5, 4, 3, 2)]
    for claim, count in zip(claims, (5, 4, 3, 2), strict=True):
        cache.extend(claim.sequence, tokens("abcde" + "1" * count)[claim.length :])
    ids = [claim.sequence for claim in claims]
    assert ids == [0, 1, 2, 3]
    assert cache.claim(tokens(wanted)).source == 3
    cache.release(4, keep=False)
    cache.extend(1, tokens("x"))
    cache.extend(0, tokens("y"))
    cache.release(1)
    assert cache.claim(tokens(wanted)).source == 1
    cache.release(4, keep=False)
    cache.release(0)
    assert cache.claim(tokens(wanted)).source == 0


def test_no_id_is_given_twice() -> None:
    """Claiming more sequences than there are is the caller's mistake; asking is not."""
    cache = PrefixCache(2)
    assert {cache.claim(tokens("a")).sequence, cache.claim(tokens("b")).sequence} == {0, 1}
    assert cache.reusable(tokens("abc")) == 0
    with pytest.raises(LookupError, match=r"^every sequence id is running$"):
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


def test_what_declines_reuse_is_neither_lent_nor_kept() -> None:
    """A job that wants no prefix gives none either, while it runs or afterwards."""
    cache = PrefixCache(3)
    claim = cache.claim(tokens("hello"), reuse=False)
    cache.extend(claim.sequence, tokens("hello"))
    assert cache.reusable(tokens("hello you")) == 0
    assert not cache.release(claim.sequence)
    assert (cache.kept, cache.tokens) == (0, 0)


def test_a_kept_id_is_found_by_what_it_begins_with() -> None:
    """With all that it holds; not one that runs, that holds less, or that belongs elsewhere."""
    cache = PrefixCache(3)
    assert cache.find(tokens("hello"), "here") is None
    claim = cache.claim(tokens("hello world"), namespace="here")
    cache.extend(claim.sequence, tokens("hello world"))
    assert cache.find(tokens("hello"), "here") is None
    cache.release(claim.sequence)
    assert cache.find(tokens("hello"), "here") == (claim.sequence, tokens("hello world"))
    assert cache.find(tokens("hello world"), "here") == (claim.sequence, tokens("hello world"))
    assert cache.find(tokens("hello world!"), "here") is None
    assert cache.find(tokens("hello"), "elsewhere") is None


def test_what_an_id_adopts_is_kept_as_if_a_job_had_ended() -> None:
    """It can be found and gone on from in its namespace, and counts as used last."""
    cache = PrefixCache(3)
    run(cache, "first")
    cache.adopt(2, tokens("abcd"), "ns")
    cache.adopt(1, tokens("wxyz"), "ns")
    assert (cache.kept, cache.tokens, cache.running_tokens) == (3, 13, 0)
    assert cache.find(tokens("ab"), "ns") == (2, tokens("abcd"))
    assert cache.reusable(tokens("abcdef")) == 0
    assert cache.claim(tokens("abcdef"), namespace="ns") == Claim(2, 4, 2)
    assert cache.release(2)
    assert [cache.evict(), cache.evict(), cache.evict()] == [
        Evicted(0, tokens("first"), "", 5),
        Evicted(1, tokens("wxyz"), "ns", 4),
        Evicted(2, tokens("abcd"), "ns", 4),
    ]


def test_what_is_adopted_can_be_lent() -> None:
    """It is under its namespace's root with the others, and is no private one."""
    cache = PrefixCache(3)
    run(cache, "abxx", namespace="ns")
    cache.adopt(1, tokens("abcd"), "ns")
    claim = cache.claim(tokens("abcxyz"), namespace="ns")
    assert (claim.source, claim.length) == (1, 3)
    cache.release(claim.sequence, keep=False)
    assert cache.claim(tokens("abcd12"), namespace="ns").sequence == 1
    assert cache.release(1)


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
        ("rrk..rr", [(5, 3), (2, 4), (6, 2)]),
        ("......", []),
    ],
)
def test_running_sequences_are_gathered(plan: str, moves: list[tuple[int, int]]) -> None:
    """As few moves as bring the running ids together; kept ones make way, or are given up where nothing is free."""
    cache = PrefixCache(len(plan))
    layout(cache, plan)
    assert cache.gather() == moves
    assert cache.gather() == []


@pytest.mark.parametrize("youngest_first", [False, True])
def test_gathering_loses_only_what_has_no_place(youngest_first: bool) -> None:
    """For each way that five ids can be used, carried out on cells: running ids are neighbours with their own cells, no
    more of them moved than must, and kept ones are given up only where no id is free."""
    for plan in product("rk.", repeat=5):
        cache = PrefixCache(5)
        for number in range(5):
            assert cache.claim(tokens(f"{number:04}"), reuse=False).sequence == number
        for number in sorted(range(5), reverse=youngest_first):
            if plan[number] != "r":
                cache.release(number)
            if plan[number] == "k":
                cache.adopt(number, tokens(f"{number:04}"), number)
        cells = {number: number for number, state in enumerate(plan) if state != "."}
        running = {number for number, state in enumerate(plan) if state == "r"}
        starts = range(5 - len(running) + 1)
        strangers = min(len(running - set(range(start, start + len(running)))) for start in starts)
        places = set(running)
        for source, target in cache.gather():
            assert target not in places, plan
            strangers -= source in places
            cells[target] = cells.pop(source)
            places = {target if place == source else place for place in places}
        assert strangers == 0, plan
        assert {cells[place] for place in places} == running, plan
        assert not places or max(places) - min(places) == len(places) - 1, plan
        kept = {found[0]: number for number in range(5) if (found := cache.find(tokens(f"{number:04}"), number))}
        assert all(cells[place] == number for place, number in kept.items()), plan
        assert len(kept) == cache.kept, plan
        if "." in plan or plan.count("r") == 0:
            assert len(kept) == plan.count("k"), plan


def assert_smallest(cache: PrefixCache) -> None:
    """The tree has a root for each namespace in use and no more, and no run of tokens that could be one with the next:
    what it costs to keep and to search depends on what is held now, not on what once was."""
    roots = {id(holder.root): holder.root for holder in cache._holders.values()}
    assert {id(root) for root in cache._roots.values()} <= roots.keys()
    open_nodes = list(roots.values())
    while open_nodes:
        node = open_nodes.pop()
        for first, child in node.children.items():
            assert child.tokens[0] == first
            assert child.parent is node
            assert child.holders
            if node.parent is not None:
                assert child.holders <= node.holders
                assert child.holders != node.holders
            open_nodes.append(child)


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
        assert_smallest(cache)


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
