"""Answers as they lie on the socket, for what clients with parsers of their own see: status, headers, chunks."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple


class Head(NamedTuple):
    """What comes before the body."""

    status: int
    headers: dict[str, str]
    """All in lower case."""

    @property
    def is_chunked(self) -> bool:
        return self.headers.get("transfer-encoding") == "chunked"


def head_of(reader: BinaryIO) -> Head:
    """Reads up to the empty line."""
    status = int(reader.readline().split()[1])
    headers = {}
    while line := reader.readline().strip().decode().lower():
        name, _, value = line.partition(":")
        headers[name] = value.strip()
    return Head(status, headers)


def chunks_of(reader: BinaryIO) -> Iterator[bytes]:
    """The body's chunks, each as it was sent."""
    while size := int(reader.readline().partition(b";")[0], 16):
        yield reader.read(size)
        assert reader.readline() == b"\r\n"
    assert reader.readline() == b"\r\n"
