"""Tests of the earlier server's routes."""
