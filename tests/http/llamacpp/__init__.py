"""Tests of llama.cpp server's API."""
