"""Diffusion: Stable Diffusion checkpoints through the modules of diffusers, many pictures sharing each step."""

from velesio.backends.diffusion.backend import DiffusionBackend, backend

__all__ = ["DiffusionBackend", "backend"]
