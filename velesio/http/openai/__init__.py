"""OpenAI's API: chats, text completions, responses and images."""
