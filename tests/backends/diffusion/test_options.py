"""config.toml lists every option of the image backend with its default."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from velesio.backends.base import Catalogue
from velesio.backends.diffusion import backend
from velesio.backends.diffusion.device import Device
from velesio.backends.diffusion.options import Options
from velesio.errors import ConfigError

ROOT = Path(__file__).parents[3]


def test_every_option_stands_in_config_toml() -> None:
    """With the default that the code has."""
    told = tomllib.loads((ROOT / "config.toml").read_text(encoding="utf-8"))["backends"]["diffusion"]
    assert told == msgspec.to_builtins(Options())


def test_unknown_options_are_refused_by_name(models_dir: Path) -> None:
    """The message names the section and the key."""
    with pytest.raises(ConfigError, match=r"backends\.diffusion.*slotz"):
        backend(Catalogue(models_dir=models_dir, options={"slotz": 3}))


def test_devices_that_are_not_there_are_refused() -> None:
    """As a GPU on a machine without one."""
    with pytest.raises(ConfigError, match="cuda:99"):
        Device(Options(device="cuda:99"))
