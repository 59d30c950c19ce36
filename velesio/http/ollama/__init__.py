"""Ollama's API: texts, chats and embeddings, and the library of models."""
