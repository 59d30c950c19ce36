"""Clients as people have them, from PyPI and npm, against a real server."""
