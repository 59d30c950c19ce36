"""Velesio: a self-hosted AI server for text and images."""

__version__ = "0.1.0"
