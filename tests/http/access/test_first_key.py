"""The first key of a server that asks for keys and has none."""

from pathlib import Path
from typing import Any

from velesio.http.access import first_key
from velesio.queue.credentials import Credentials


async def test_a_first_key_is_left_where_its_user_alone_can_read_it(broker: Any, tmp_path: Path) -> None:
    """It has every scope, and is made once."""
    path = await first_key.make(broker, b"pepper", tmp_path / "data")
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o600
    [record] = await Credentials(broker, b"pepper", "tester").all()
    assert path.read_text().startswith(f"vk_{record.id}_")
    assert record.scopes == ("text", "images", "admin")
    assert await first_key.make(broker, b"pepper", tmp_path / "data") is None
