#!/bin/sh
# A picture: what is it?
# Another server: PANDAGPT_URL=http://host:8000 (and PANDAGPT_API_KEY) clients/curl/image.sh
set -eu
curl -sS --fail-with-body "${PANDAGPT_URL:-http://127.0.0.1:8000}/v1/chat/completions" \
  -H 'Content-Type: application/json' \
  -H "Authorization: Bearer ${PANDAGPT_API_KEY:-none}" \
  -d '{
    "messages": [{"role": "user", "content": [
      {"type": "image_url", "image_url": {"url": "sample://red_car.png"}},
      {"type": "text", "text": "What is this?"}
    ]}],
    "temperature": 0
  }'
