"""A picture and a question through OpenAI's own client: only `base_url` is ours."""

import os
from typing import Any

from openai import OpenAI

url = os.environ.get("PANDAGPT_URL", "http://127.0.0.1:8000")
client = OpenAI(base_url=f"{url}/v1", api_key=os.environ.get("PANDAGPT_API_KEY", "none"))
picture: Any = {"type": "image_url", "image_url": {"url": "sample://red_car.png"}}
question: Any = {"type": "text", "text": "What is this?"}
stream = client.chat.completions.create(
    model=client.models.list().data[0].id,
    messages=[{"role": "user", "content": [picture, question]}],
    temperature=0,
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
