"""Tests of what browsers get."""
