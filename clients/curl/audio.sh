#!/bin/sh
# A sound, which the language model was never trained to talk about.
# Another server: PANDAGPT_URL=http://host:8000 (and PANDAGPT_API_KEY) clients/curl/audio.sh
set -eu
curl -sS --fail-with-body "${PANDAGPT_URL:-http://127.0.0.1:8000}/v1/chat/completions" \
  -H 'Content-Type: application/json' \
  -H "Authorization: Bearer ${PANDAGPT_API_KEY:-none}" \
  -d '{
    "messages": [{"role": "user", "content": [
      {"type": "audio_url", "audio_url": {"url": "sample://frog.wav"}},
      {"type": "text", "text": "What can you hear?"}
    ]}],
    "temperature": 0
  }'
