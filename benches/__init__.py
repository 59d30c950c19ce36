"""Benches: what `scripts/bench` measures. Nothing here is part of the installed package."""
