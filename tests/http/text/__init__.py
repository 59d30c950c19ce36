"""Tests of what requests for text have in common."""
