"""A running `vllm serve BASE --enable-lora`: adapters are pushed to it, token ids go in, drawn tokens come out.

Its own HTTP interface, as of vLLM 0.10.2 (`return_token_ids`) and later: `/v1/load_lora_adapter`,
`/v1/unload_lora_adapter`, `/v1/completions`, `/tokenize`. The server must be started with
VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and must see the adapters' folder under that path. Nothing of vLLM is imported.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etude.endpoints.client import CONNECT_SECONDS, TRY_AGAIN, EndpointError, key_in, need_httpx, pause
from etude.endpoints.exchange import error_text, wait_seconds
from etude.endpoints.options import VllmOptions, is_local
from etude.errors import Problems

if TYPE_CHECKING:
    from httpx2 import Client, Response

LONGEST_WAIT_SECONDS = 60.0
NOT_FOUND = 404
KNOWN = 20
"""Likeliest tokens that are asked for: no server tells more unless it was started with a higher --max-logprobs."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How answers are drawn; everything that a model's own generation config could change is said."""

    group: int
    """Answers to each prompt."""
    max_tokens: int
    temperature: float
    top_p: float
    end_ids: frozenset[int]
    """Tokens that end an answer; no other does."""

    def body(self, adapter: str, prompt: Sequence[int], seed: int) -> dict[str, Any]:
        """The JSON of one prompt's request."""
        return {
            "model": adapter,
            "prompt": list(prompt),
            "n": self.group,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "seed": seed,
            "stop_token_ids": sorted(self.end_ids),
            "ignore_eos": True,  # its own ends, which may be others
            "logprobs": 0,  # of the drawn token alone
            "return_token_ids": True,
        }


@dataclass(frozen=True, slots=True)
class Drawn:
    """One answer."""

    tokens: tuple[int, ...]
    """The ending token included."""
    logprobs: tuple[float, ...]
    """Nats, before temperature and nucleus, unless the server was started with another --logprobs-mode."""


@dataclass
class Vllm:
    """A server; `open_vllm` makes one."""

    options: VllmOptions
    client: Client
    key: str | None = field(default=None, repr=False)

    def load(self, name: str, folder: Path) -> None:
        """Makes the adapter in a folder answer to a name.

        Raises:
            EndpointError: the server is not there, or cannot load it.
        """
        self.unload(name)  # one of that name may lie in a folder that is gone
        answer = self._sent("load_lora_adapter", {"lora_name": name, "lora_path": str(folder.absolute())})
        if answer.status_code == NOT_FOUND and "adapter" not in answer.text.lower():
            raise self._error("loads no adapters at run time", "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True")
        self._check(
            answer,
            f"cannot load the adapter in {folder}",
            "does it see this path, and was it started with --enable-lora and a --max-lora-rank that suffices?",
        )

    def unload(self, name: str) -> None:
        """Forgets an adapter; one that is not there, or not any more, is no error.

        Raises:
            EndpointError: the server is not there.
        """
        self._sent("unload_lora_adapter", {"lora_name": name}, insists=False)

    def answers(
        self, adapter: str, prompts: Sequence[Sequence[int]], draw: Draw, *, seeds: Sequence[int], at_once: int
    ) -> list[list[Drawn]]:
        """The answers to each prompt, in order; so many prompts are under way at once.

        Raises:
            EndpointError: one of them got no answer, or one that says too little.
        """
        bodies = [draw.body(adapter, prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
        with ThreadPoolExecutor(max(1, at_once)) as pool:
            answered = list(pool.map(lambda body: self._sent("completions", body), bodies))
        return [self._read(answer, body) for answer, body in zip(answered, bodies, strict=True)]

    def tokens(self, model: str, text: str) -> tuple[int, ...]:
        """The ids that the server reads a rendered text as, control tokens understood.

        Raises:
            EndpointError: no answer, or one without ids.
        """
        beside = self.options.url.rstrip("/").removesuffix("/v1") + "/tokenize"  # not under /v1
        answer = self._sent(beside, {"model": model, "prompt": text, "add_special_tokens": False})
        self._check(answer, "does not say which tokens a text is", None)
        try:
            return tuple(map(int, json.loads(answer.content)["tokens"]))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._error(f"what came holds no token ids ({error})") from error

    def predictions(self, model: str, tokens: Sequence[int]) -> list[dict[int, float]]:
        """Log-probabilities, nats, of the token at each place of a row and of the `KNOWN` likeliest; none at the first.

        Raises:
            EndpointError: no answer, or one that says too little.
        """
        body = {
            "model": model,
            "prompt": list(tokens),
            "max_tokens": 1,
            "temperature": 0.0,
            "prompt_logprobs": KNOWN,
            "return_token_ids": True,
        }
        answer = self._sent("completions", body)
        self._check(answer, "predicted nothing", None)
        try:
            (choice,) = json.loads(answer.content)["choices"]
            if choice["prompt_token_ids"] != list(tokens):
                raise ValueError("it read another row than the one that was sent")
            found = [
                {int(token): float(one["logprob"]) for token, one in (place or {}).items()}
                for place in choice["prompt_logprobs"]
            ]
            if len(found) != len(tokens):
                raise ValueError(f"{len(found)} predictions for {len(tokens)} tokens")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._error(f"what came holds no predictions of the row's tokens ({error})") from error
        return found

    def _read(self, answer: Response, body: dict[str, Any]) -> list[Drawn]:
        self._check(answer, "wrote no answers", None)
        try:
            value = json.loads(answer.content)
            if value["model"] != body["model"]:
                raise self._error(f"answered as {value['model']!r}, not as {body['model']!r}")
            choices = sorted(value["choices"], key=lambda choice: int(choice["index"]))
            drawn = [_drawn(choice, body["prompt"]) for choice in choices]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._error(
                f"what came holds no token ids with their log-probabilities ({error})", "vLLM 0.10.2 or later is needed"
            ) from error
        if len(drawn) != body["n"]:
            raise self._error(f"wrote {len(drawn)} answers where {body['n']} were asked for")
        return drawn

    def _sent(self, path: str, body: dict[str, Any], *, insists: bool = True) -> Response:
        """What came, after as many tries as are allowed; with `insists`, being busy or broken is no answer yet."""
        import httpx2

        number, tries = 0, self.options.tries
        while True:
            number += 1
            try:
                answer = self.client.post(path, json=body)
            except httpx2.TransportError as error:
                if number == tries:
                    raise self._error(
                        f"cannot be reached ({error or type(error).__name__})", "is the server running?"
                    ) from None
                time.sleep(pause(None, number, LONGEST_WAIT_SECONDS))
                continue
            busy = answer.status_code in TRY_AGAIN or answer.status_code >= 500
            if not (busy and insists) or number == tries:
                return answer
            asked = wait_seconds(answer.headers)
            time.sleep(pause(asked and min(asked, LONGEST_WAIT_SECONDS), number, LONGEST_WAIT_SECONDS))

    def _check(self, answer: Response, found: str, remedy: str | None) -> None:
        if answer.status_code != 200:
            raise self._error(f"{found} ({self._says(answer)})", remedy)

    def _says(self, answer: Response) -> str:
        return f"status {answer.status_code}: {error_text(answer.content)}"

    def _error(self, found: str, remedy: str | None = None) -> EndpointError:
        shown = found.replace(self.key, "[key]") if self.key else found  # some servers repeat it
        return EndpointError(shown, where=self.options.url, remedy=remedy)


def _drawn(choice: dict[str, Any], prompt: Sequence[int]) -> Drawn:
    """
    Raises:
        ValueError: the server read another prompt, or says too little.
    """
    tokens, logprobs = choice["token_ids"], choice["logprobs"]["token_logprobs"]
    if choice["prompt_token_ids"] != list(prompt):
        raise ValueError("it read another prompt than the one that was sent")
    if len(tokens) != len(logprobs):
        raise ValueError(f"{len(tokens)} tokens with {len(logprobs)} log-probabilities")
    return Drawn(tuple(map(int, tokens)), tuple(map(float, logprobs)))


def open_vllm(options: VllmOptions, *, where: str = "rollouts.vllm") -> Vllm:
    """The server, not yet asked; mistakes are told as of `where`.

    Raises:
        EtudeError: settings out of range, no key where one is named, or no HTTP library.
    """
    need_httpx()
    if found := options.problems():
        raise Problems(where, [f"{setting}: {says}" for setting, says in found])
    import httpx2

    key = key_in(options.key_variable, where=f"{where}.key_variable")
    client = httpx2.Client(
        base_url=options.url.rstrip("/") + "/",
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=httpx2.Timeout(options.seconds, connect=min(CONNECT_SECONDS, options.seconds)),
        limits=httpx2.Limits(max_connections=None),
        trust_env=not is_local(options.url),
    )
    return Vllm(options, client, key)
