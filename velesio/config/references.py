"""References in options, `${file:PATH}` and `${env:NAME}`, for secrets that are kept elsewhere."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from velesio.errors import ConfigError

_REFERENCE = re.compile(r"\$\{(file|env):([^}]+)\}")


def resolve(value: Any, environment: Mapping[str, str], place: str = "") -> Any:
    """`value` with what is referred to in place of every reference, in all strings of all tables.

    Raises:
        ConfigError: naming the option that refers to a file or a variable which is not there.
    """
    if isinstance(value, dict):
        return {name: resolve(item, environment, f"{place}.{name}" if place else name) for name, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, environment, f"{place}[{index}]") for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def substitute(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind == "env":
            if name not in environment:
                raise ConfigError(f"{place}: the environment has no variable {name!r}")
            return environment[name]
        try:
            return Path(name).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:  # none such, no text, or a name that none can have
            raise ConfigError(f"{place}: cannot read the secret file {name!r}: {error}") from None

    return _REFERENCE.sub(substitute, value)
