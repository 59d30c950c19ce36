"""Finds backends by the entry-point group `velesio.backends`."""

from importlib.metadata import entry_points

from velesio.backends.base import Factory
from velesio.errors import ConfigError

GROUP = "velesio.backends"


def names() -> list[str]:
    """The installed backends."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def factory(name: str) -> Factory:
    """The factory of the backend `name`.

    Raises:
        ConfigError: if it is not installed or cannot be imported.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise ConfigError(f"no backend is called {name!r}; installed are {', '.join(sorted(points)) or 'none'}")
    try:
        loaded: Factory = points[name].load()
    except ImportError as error:
        raise ConfigError(f"the backend {name!r} cannot be imported: {error}") from error
    return loaded
