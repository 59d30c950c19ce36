"""What is kept of a request for later."""

from hypothesis import given

from tests.http.conftest import bodies
from velesio.http.llamacpp.completion import Asked
from velesio.http.origin import Origin
from velesio.http.wire import encode


@given(bodies([Asked]))
def test_an_origin_comes_back(body: dict[str, object]) -> None:
    """Packed and unpacked it is the same."""
    origin = Origin("/completion", encode(body))
    assert Origin.unpacked(origin.packed()) == origin


def test_rubbish_is_no_origin() -> None:
    """Nothing kept, or something of another release."""
    assert Origin.unpacked(b"") is Origin.unpacked(b"\x93\x01\x02\x03") is None


def test_a_fingerprint_is_of_what_is_said() -> None:
    """White space, the order of fields and null fields do not count; everything else does."""

    def of(body: bytes, url: str = "/completion") -> str:
        return Origin(url, body).fingerprint()

    assert of(b'{"a":1,"b":{"c":2,"d":3}}') == of(b' {"b": {"d": 3, "c": 2}, "a": 1, "x": null}')
    assert len({of(b'{"a":1}'), of(b'{"a":2}'), of(b'{"a":1,"b":0}'), of(b'{"a":1}', "/v1/completions")}) == 4
