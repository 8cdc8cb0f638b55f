#!/bin/sh
# A picture of your own: clients/curl/own_picture.sh PICTURE [QUESTION]
# Another server: PANDAGPT_URL=http://host:8000 (and PANDAGPT_API_KEY) clients/curl/own_picture.sh ...
set -eu
picture=$1
question=${2:-What is this?}
{
  printf '{"messages": [{"role": "user", "content": ['
  printf '{"type": "image_url", "image_url": {"url": "data:;base64,'
  base64 < "$picture" | tr -d '\n'
  printf '"}}, {"type": "text", "text": "%s"}]}], "temperature": 0}' "$question"
} | curl -sS --fail-with-body "${PANDAGPT_URL:-http://127.0.0.1:8000}/v1/chat/completions" \
  -H 'Content-Type: application/json' \
  -H "Authorization: Bearer ${PANDAGPT_API_KEY:-none}" \
  --data-binary @-
