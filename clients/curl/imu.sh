#!/bin/sh
# A recording of motion: rows of ax, ay, az, gx, gy, gz at 200 Hz.
# Another server: PANDAGPT_URL=http://host:8000 (and PANDAGPT_API_KEY) clients/curl/imu.sh
set -eu
curl -sS --fail-with-body "${PANDAGPT_URL:-http://127.0.0.1:8000}/v1/chat/completions" \
  -H 'Content-Type: application/json' \
  -H "Authorization: Bearer ${PANDAGPT_API_KEY:-none}" \
  -d '{
    "messages": [{"role": "user", "content": [
      {"type": "imu_url", "imu_url": {"url": "sample://horse.imu.csv", "sample_rate": 200}},
      {"type": "text", "text": "What is this?"}
    ]}],
    "temperature": 0
  }'
