#!/usr/bin/env bash
# A chat, word by word: examples/clients/chat.sh "Name three colours."
set -euo pipefail
question=${1:-Name three colours.}
curl -sSN "${VELESIO_ADDRESS:-http://127.0.0.1:8000}/v1/chat/completions" \
    -H "Authorization: Bearer ${VELESIO_TOKEN:-none}" -H "Content-Type: application/json" \
    -d "$(jq -n --arg text "$question" '{stream: true, temperature: 0, max_tokens: 60, messages: [{role: "user", content: $text}]}')" |
    sed -un 's/^data: \({.*\)/\1/p' | jq -rj --unbuffered '.choices[0].delta.content // empty'
echo
