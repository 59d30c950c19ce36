"""Diffusion: Stable Diffusion checkpoints through the modules of diffusers, many pictures sharing each step."""
