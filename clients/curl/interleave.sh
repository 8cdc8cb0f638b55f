#!/bin/sh
# A picture and a sound, each in a slot of its own.
# Another server: PANDAGPT_URL=http://host:8000 (and PANDAGPT_API_KEY) clients/curl/interleave.sh
set -eu
curl -sS --fail-with-body "${PANDAGPT_URL:-http://127.0.0.1:8000}/v1/chat/completions" \
  -H 'Content-Type: application/json' \
  -H "Authorization: Bearer ${PANDAGPT_API_KEY:-none}" \
  -d '{
    "messages": [{"role": "user", "content": [
      {"type": "image_url", "image_url": {"url": "sample://red_car.png"}},
      {"type": "audio_url", "audio_url": {"url": "sample://frog.wav"}},
      {"type": "text", "text": "What is there?"}
    ]}],
    "temperature": 0,
    "fusion": "interleave"
  }'
