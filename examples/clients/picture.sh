#!/usr/bin/env bash
# A picture into a file: examples/clients/picture.sh "a red circle" circle.png
set -euo pipefail
prompt=${1:-a red circle}
file=${2:-picture.png}
curl -sS --fail-with-body "${VELESIO_ADDRESS:-http://127.0.0.1:8000}/sdapi/v1/txt2img" \
    -H "Authorization: Bearer ${VELESIO_TOKEN:-none}" -H "Content-Type: application/json" \
    -d "$(jq -n --arg prompt "$prompt" '{prompt: $prompt, width: 64, height: 64, steps: 20, cfg_scale: 4, seed: 1}')" |
    jq -r '.images[0]' | base64 -d >"$file"
echo "$file"
