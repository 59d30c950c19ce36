"""Tests of the image engine."""
