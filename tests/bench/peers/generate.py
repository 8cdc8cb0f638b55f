"""A server as PandaGPT's own demo serves: transformers' `generate`, one request at a time.

    python -m tests.bench.peers.generate FOLDER PORT DEVICE

The model, float32, behind a lock; answers are streamed as they are generated.
"""

import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer

from tests.bench.peers.peer import ONE_THREAD, Launch, Peer


def command(launch: Launch) -> list[str]:
    name = "tests.bench.peers.generate"
    return [sys.executable, "-m", name, launch.model, str(launch.port), launch.device]


PEER = Peer("generate", command, "/health", ONE_THREAD)


class Generator:
    def __init__(self, folder: str, device: str) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model = self.model.to(device)
        self.lock = threading.Lock()

    def frames(self, body: dict[str, Any]) -> Iterator[str]:
        with self.lock:
            given = self.tokenizer.apply_chat_template(
                body["messages"], return_tensors="pt", return_dict=True
            ).to(self.model.device)
            streamer = TextIteratorStreamer(
                self.tokenizer, skip_prompt=True, skip_special_tokens=True
            )
            options = {"do_sample": False, "max_new_tokens": body["max_tokens"]}
            thread = threading.Thread(
                target=self.model.generate, kwargs={**given, **options, "streamer": streamer}
            )
            thread.start()
            for text in streamer:
                if text:
                    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
                    yield frame([choice])
            thread.join()
        # It runs to its limit, since the model's end token is never the likeliest.
        yield frame([], {"completion_tokens": body["max_tokens"]})
        yield "data: [DONE]\n\n"


def frame(choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> str:
    return f"data: {json.dumps({'choices': choices, 'usage': usage})}\n\n"


def create_app(folder: str, device: str) -> FastAPI:
    app, generator = FastAPI(), Generator(folder, device)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/chat/completions")
    def chat(body: dict[str, Any]) -> StreamingResponse:
        return StreamingResponse(generator.frames(body), media_type="text/event-stream")

    return app


if __name__ == "__main__":
    _, path, port, where = sys.argv
    uvicorn.run(create_app(path, where), host="127.0.0.1", port=int(port), log_level="warning")
