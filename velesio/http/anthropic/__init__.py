"""Anthropic's API: messages, their streams, and the list of models."""
