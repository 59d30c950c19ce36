"""What of diffusers is imported: each law in a process of its own, since modules stay."""

import json
import subprocess
import sys
from typing import Any

import pytest


def told(program: str) -> Any:
    """What a program prints, as JSON; it has `lean`, `sys` and `json`."""
    head = "import json, sys\nfrom velesio.backends.diffusion import lean\n"
    done = subprocess.run([sys.executable, "-c", head + program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_neither_transformers_nor_the_compiler_is_imported() -> None:
    """The engine is; whoever wants the hidden ones afterwards finds the real ones."""
    program = """
import importlib.util
lean.import_networks()
from velesio.backends.diffusion import engine, loading
names = ("transformers", "torch._dynamo")
imported = [name for name in (*names, "sympy") if name in sys.modules]
print(json.dumps([imported, [importlib.util.find_spec(name).origin for name in names]]))
"""
    imported, origins = told(program)
    assert imported == []
    assert all(origin.endswith("__init__.py") for origin in origins)


def test_a_diffusers_that_was_imported_before_stays() -> None:
    """Nobody else's modules are touched, and nothing is imported."""
    program = """
import types
sys.modules["diffusers"] = there = types.ModuleType("diffusers")
lean.import_networks()
print(json.dumps([sys.modules["diffusers"] is there, "torch" in sys.modules]))
"""
    assert told(program) == [True, False]


@pytest.mark.slow
def test_a_diffusers_that_needs_more_is_imported_as_ever() -> None:
    """It takes longer, but it works, pipelines too."""
    program = """
import types
lean._stand_in = lambda: types.ModuleType("torch._dynamo")
lean.import_networks()
from diffusers import StableDiffusionPipeline
from velesio.backends.diffusion import loading
print(json.dumps([name for name in ("transformers", "torch._dynamo") if name in sys.modules]))
"""
    assert told(program) == ["transformers", "torch._dynamo"]
