"""llama.cpp server's own API, and what LLMUnity asks beside it."""
