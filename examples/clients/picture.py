"""A picture with the standard library: python examples/clients/picture.py "a blue star" star.png"""

import base64
import json
import os
import sys
import urllib.request
from pathlib import Path

prompt = sys.argv[1] if len(sys.argv) > 1 else "a blue star"
file = Path(sys.argv[2] if len(sys.argv) > 2 else "picture.png")
request = urllib.request.Request(
    os.environ.get("VELESIO_ADDRESS", "http://127.0.0.1:8000") + "/sdapi/v1/txt2img",
    json.dumps({"prompt": prompt, "width": 64, "height": 64, "steps": 20, "cfg_scale": 4, "seed": 1}).encode(),
    {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('VELESIO_TOKEN', 'none')}"},
)
with urllib.request.urlopen(request) as answer:
    file.write_bytes(base64.b64decode(json.load(answer)["images"][0]))
print(file)
