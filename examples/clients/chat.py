"""A chat with OpenAI's SDK, word by word: python examples/clients/chat.py "Name three colours." """

import os
import sys

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("VELESIO_ADDRESS", "http://127.0.0.1:8000") + "/v1",
    api_key=os.environ.get("VELESIO_TOKEN", "none"),
)
stream = client.chat.completions.create(
    model="",  # whatever the server serves first
    messages=[{"role": "user", "content": sys.argv[1] if len(sys.argv) > 1 else "Name three colours."}],
    temperature=0,
    max_tokens=60,
    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
