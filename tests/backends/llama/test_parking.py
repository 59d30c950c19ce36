"""Parked states: a budget of bytes, the longest prefix, nobody else's."""

from array import array

from velesio.backends.llama.parking import Parked, Parking


def tokens(text: str) -> "array[int]":
    return array("i", [ord(character) for character in text])


def put(parking: Parking, text: str, size: int = 10, namespace: str = "") -> None:
    parking.put(Parked(tokens(text), bytes(size)), namespace)


def best(parking: Parking, text: str, namespace: str = "", *, whole: bool = False) -> tuple[str, int] | None:
    found = parking.best(tokens(text), namespace, whole=whole)
    return ("".join(map(chr, found[0].tokens)), found[1]) if found else None


def test_the_longest_prefix_is_found() -> None:
    """A state may be longer than what is wanted of it, unless states cannot be cut."""
    parking = Parking(100)
    for text in ("abc", "abcdef", "xyz"):
        put(parking, text)
    assert best(parking, "abcdeX") == ("abcdef", 5)
    assert best(parking, "abcdeX", whole=True) == ("abc", 3)
    assert best(parking, "none") is None


def test_the_budget_is_kept() -> None:
    """What was used longest ago goes first; to be found is to be used."""
    parking = Parking(30)
    for text in ("one", "two", "three"):
        put(parking, text)
    assert best(parking, "one") == ("one", 3)
    put(parking, "four")
    assert parking.bytes == 30
    assert best(parking, "twofold") == ("three", 1)
    assert best(parking, "one") is not None
    assert [parking.holds(size) for size in (0, 1, 30, 31)] == [False, True, True, False]


def test_the_same_tokens_are_parked_once() -> None:
    """A newer state takes the older one's place."""
    parking = Parking(30)
    put(parking, "one", 20)
    put(parking, "one", 5)
    assert parking.bytes == 5


def test_namespaces_are_apart() -> None:
    """What one tenant left is not another's."""
    parking = Parking(100)
    put(parking, "secret", namespace="a")
    assert best(parking, "secret", "b") is None
    assert best(parking, "secret", "a") == ("secret", 6)


def test_without_a_budget_nothing_is_parked() -> None:
    """The default."""
    assert not Parking(0).holds(1)
