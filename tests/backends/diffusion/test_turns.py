"""Groups of unlike calls share the time, and changing the networks' setting has a price."""

from itertools import pairwise

from velesio.backends.diffusion.calls import Applied, Key, Setting
from velesio.backends.diffusion.turns import Turns

PLAIN = Setting()
STYLED = Setting(adapters=(Applied("style", 1, 1),))


def key(name: str, setting: Setting = PLAIN, kind: str = "predict") -> Key:
    return Key(kind, setting, (name,))


def shares(turns: Turns, waiting: dict[Key, int], seconds: dict[Key, float], total: float = 100.0) -> dict[Key, float]:
    """The time that each group gets, out of so many seconds."""
    got = dict.fromkeys(waiting, 0.0)
    while sum(got.values()) < total:
        chosen = turns.choose(waiting)
        turns.spent(chosen, seconds[chosen], waiting[chosen])
        got[chosen] += seconds[chosen]
    return got


def test_slow_and_quick_groups_get_the_same_time() -> None:
    """Two jobs, one with steps a hundred times as long: each gets half of the time."""
    small, large = key("small"), key("large")
    got = shares(Turns(0.5), {small: 1, large: 1}, {small: 0.03, large: 3.0})
    assert abs(got[small] - got[large]) <= 3.1


def test_groups_share_by_jobs() -> None:
    """Three jobs together get three times the time of one."""
    many, one = key("many"), key("one")
    got = shares(Turns(0.5), {many: 3, one: 1}, {many: 0.1, one: 0.1})
    assert 2.5 < got[many] / got[one] < 3.5


def test_nobody_who_comes_later_is_kept_waiting() -> None:
    """A new group begins where the others are, not at their beginning, and is served soon."""
    turns, old, new = Turns(0.5), key("old"), key("new")
    shares(turns, {old: 1}, {old: 0.1})
    got = shares(turns, {old: 1, new: 1}, {old: 0.1, new: 0.1}, total=2.0)
    assert 0.7 < got[new] < 1.3


def test_settings_change_seldom() -> None:
    """With adapters to put on and off, a group keeps its turn for a while; both still get their half."""
    turns, plain, styled = Turns(0.5), key("a"), key("a", STYLED)
    chosen = []
    for _ in range(200):
        chosen.append(turns.choose({plain: 1, styled: 1}))
        turns.spent(chosen[-1], 0.1, 1)
    changes = sum(one != other for one, other in pairwise(chosen))
    assert 10 <= changes <= 45
    assert 80 <= chosen.count(plain) <= 120


def test_words_come_first() -> None:
    """A prompt is short work, and without it its picture can join nobody."""
    turns, words = Turns(0.5), key("", kind="words")
    for _ in range(5):
        assert turns.choose({key("a"): 4, words: 1}) == words
        turns.spent(words, 10.0, 1)
