"""Tests of A1111's API."""
