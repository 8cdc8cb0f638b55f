#!/bin/sh
# The answer token by token, as server-sent events.
# Another server: PANDAGPT_URL=http://host:8000 (and PANDAGPT_API_KEY) clients/curl/stream.sh
set -eu
curl -sS --fail-with-body -N "${PANDAGPT_URL:-http://127.0.0.1:8000}/v1/chat/completions" \
  -H 'Content-Type: application/json' \
  -H "Authorization: Bearer ${PANDAGPT_API_KEY:-none}" \
  -d '{
    "messages": [{"role": "user", "content": [
      {"type": "image_url", "image_url": {"url": "sample://green_frog.png"}},
      {"type": "text", "text": "What is this?"}
    ]}],
    "temperature": 0,
    "stream": true,
    "stream_options": {"include_usage": true}
  }'
