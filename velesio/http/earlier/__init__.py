"""Routes and bodies of the earlier Velesio server, for its clients: Ollama's and A1111's, at other addresses."""
