"""A server on loopback that speaks vLLM's interface for adapters and completions, and answers with our own sampler.

It knows the policy only by the adapter folders that are pushed to it. Requests with a field that vLLM has not are
refused, so that a misspelt one shows. `stale`: it takes every push and goes on answering by the first one's weights.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from etude.models.loaded import LoadedModel
from etude.sampling.answer import Completion
from etude.sampling.options import SampleOptions
from etude.sampling.sampler import sample
from etude.techniques.policy import Policy, attach_adapter

FIELDS = {
    "model", "prompt", "n", "max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty",
    "presence_penalty", "frequency_penalty", "seed", "stop_token_ids", "ignore_eos", "logprobs", "prompt_logprobs",
    "return_token_ids",
}  # fmt: skip
"""Of vLLM's CompletionRequest (vllm/entrypoints/openai/completion/protocol.py), those that are known here."""
Answer = tuple[int, object]
"""Status, and what is sent as JSON."""


class VllmServer(ThreadingHTTPServer):
    """Adapters by name, and what it was asked."""

    daemon_threads = True

    def __init__(self, base: Callable[[], LoadedModel], *, stale: bool, broken: dict[str, Answer]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.base, self.stale, self.broken = base, stale, broken
        self.first: Policy | None = None
        self.adapters: dict[str, Policy] = {}
        self.loaded: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.one_at_a_time = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def answer(self, path: str, body: dict[str, Any]) -> Answer:
        if path in self.broken:
            return self.broken[path]
        if path == "/v1/load_lora_adapter":
            return self._load(body["lora_name"], Path(body["lora_path"]))
        if path == "/v1/unload_lora_adapter":
            known = self.adapters.pop(body["lora_name"], None)
            return (404, _error("The lora adapter cannot be found.")) if known is None else (200, "Success")
        if path == "/v1/completions":
            return self._predict(body) if "prompt_logprobs" in body else self._complete(body)
        if path == "/tokenize":
            text, special = body["prompt"], body["add_special_tokens"]
            ids = self.base().tokenizer(text, add_special_tokens=special)["input_ids"]
            return 200, {"tokens": ids, "count": len(ids), "max_model_len": 2048}
        return 404, {"detail": "Not Found"}

    def _load(self, name: str, folder: Path) -> Answer:
        if name in self.adapters:
            return 400, _error(f"The lora adapter '{name}' has already been loaded.")
        if not (folder / "adapter_model.safetensors").is_file():
            return 404, _error(f"Loading lora {name} failed: No adapter found for {folder}")
        if self.first is None or not self.stale:
            self.first = attach_adapter(folder, self.base())
        self.adapters[name] = self.first
        self.loaded.append(name)
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def _predict(self, body: dict[str, Any]) -> Answer:
        """As vLLM tells `prompt_logprobs`: null, then the likeliest of each place and the token that is there."""
        if unknown := body.keys() - FIELDS:
            return 400, _error(f"unknown fields: {unknown}")
        if body["model"] not in self.adapters:
            return 404, _error(f"The model `{body['model']}` does not exist.")
        tokens = body["prompt"]
        with self.adapters[body["model"]].use() as model, torch.no_grad():
            logits = model.module(input_ids=torch.tensor([tokens]), use_cache=False).logits[0]
        places: list[dict[str, Any] | None] = [None]
        for said, token in zip(logits.log_softmax(-1)[:-1], tokens[1:], strict=True):
            known = {*said.topk(body["prompt_logprobs"]).indices.tolist(), token}
            places.append({str(one): {"logprob": float(said[one]), "rank": 1, "decoded_token": ""} for one in known})
        choice = {"index": 0, "text": "", "prompt_logprobs": places, "prompt_token_ids": tokens}
        return 200, {"model": body["model"], "choices": [choice]}

    def _complete(self, body: dict[str, Any]) -> Answer:
        self.bodies.append(body)
        if unknown := body.keys() - FIELDS:
            return 400, _error(f"unknown fields: {unknown}")
        if body["model"] not in self.adapters:
            return 404, _error(f"The model `{body['model']}` does not exist.")
        options = SampleOptions(
            max_new_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_p=body["top_p"],
            seed=body["seed"],
        )
        with self.adapters[body["model"]].use() as model:
            prompts = [body["prompt"]] * body["n"]
            answers = sample(model, prompts, options, end_ids=frozenset(body["stop_token_ids"]))
        return 200, {"model": body["model"], "choices": choices(body["prompt"], answers)}


def choices(prompt: Sequence[int], answers: Sequence[Completion]) -> list[dict[str, Any]]:
    """As in vLLM's CompletionResponse; the last first, since the order is the index's."""
    return [
        {
            "index": at,
            "text": answer.text,
            "logprobs": {"token_logprobs": answer.logprobs, "tokens": [], "top_logprobs": []},
            "finish_reason": answer.finish,
            "token_ids": answer.tokens,
            "prompt_token_ids": prompt,
        }
        for at, answer in reversed(list(enumerate(answers)))
    ]


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "InvalidUserInput", "param": None, "code": 400}}


class _Handler(BaseHTTPRequestHandler):
    server: VllmServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.one_at_a_time:
            self.server.keys.add(self.headers.get("Authorization"))
            status, told = self.server.answer(self.path, body)
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def vllm_server(
    base: Callable[[], LoadedModel], *, stale: bool = False, broken: dict[str, Answer] | None = None
) -> Iterator[VllmServer]:
    """A running server of adapters on the base model; `broken` says what some paths answer instead."""
    server = VllmServer(base, stale=stale, broken=broken or {})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
