"""Backends by their entry points."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from velesio.backends import diffusion, echo, llama, plugins
from velesio.errors import ConfigError


def test_those_that_ship_are_found() -> None:
    """By the names that `[[models]]` and `[backends.…]` give them."""
    assert {"diffusion", "echo", "llama"} <= set(plugins.names())
    assert plugins.names() == sorted(plugins.names())
    for name, module in (("diffusion", diffusion), ("echo", echo), ("llama", llama)):
        assert plugins.factory(name) is module.backend


def test_a_backend_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With those that are; one that cannot be imported, with the reason."""
    broken = EntryPoint("broken", "velesio.no_such_module:backend", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: EntryPoints([broken]))
    with pytest.raises(ConfigError, match=r"^no backend is called 'nope'; installed are broken$"):
        plugins.factory("nope")
    with pytest.raises(ConfigError, match=r"the backend 'broken' cannot be imported: No module named"):
        plugins.factory("broken")
    monkeypatch.setattr(plugins, "entry_points", lambda group: EntryPoints([]))
    with pytest.raises(ConfigError, match="installed are none"):
        plugins.factory("nope")
