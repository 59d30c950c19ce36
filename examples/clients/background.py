"""A job that outlives its connection: queue it, look at it, fetch its result. python examples/clients/background.py"""

import json
import os
import time
import urllib.request
from typing import Any

ADDRESS = os.environ.get("VELESIO_ADDRESS", "http://127.0.0.1:8000")
HEADERS = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('VELESIO_TOKEN', 'none')}"}


def ask(path: str, body: Any = None) -> Any:
    """GET, or POST of a JSON body."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(ADDRESS + path, data, HEADERS)) as answer:
        return json.load(answer)


job = ask("/v1/jobs", {"url": "/completion", "body": {"prompt": "One, two, three,", "n_predict": 12, "temperature": 0}})
while (now := ask(f"/v1/jobs/{job['id']}"))["state"] in {"queued", "running"}:
    print(now["state"], "at position", now.get("position"))
    time.sleep(0.5)
print(ask(f"/v1/jobs/{job['id']}/result")["content"])
