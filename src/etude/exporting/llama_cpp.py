"""llama.cpp inside this process, through the `xllamacpp` package (extra `llamacpp`): what it reads and predicts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from etude.errors import EtudeError

FREE_PORT = 0
"""The system chooses one, on loopback: only the server tokenizes."""
SECONDS = 60.0
TOP = 128
"""Most likely tokens that are asked for."""
SURELY = 1e4


class LlamaCpp:
    """One GGUF file, ready to be asked."""

    def __init__(self, path: Path, *, longest: int) -> None:
        """
        Raises:
            EtudeError: the package is not installed, or llama.cpp cannot load the file.
        """
        try:
            import xllamacpp
        except ImportError as error:
            raise EtudeError("llama.cpp is not installed", remedy="pip install 'etude[llamacpp]'") from error
        settings = xllamacpp.CommonParams()
        settings.model.path = str(path)
        settings.n_ctx = longest
        settings.n_parallel = 1
        settings.n_gpu_layers = 0
        settings.warmup = False
        settings.verbosity = -1
        settings.cpuparams.n_threads = os.cpu_count() or 1
        settings.port = FREE_PORT
        try:
            self._server: Any = xllamacpp.Server(settings)
        except (RuntimeError, ValueError, OSError) as error:
            raise EtudeError(f"llama.cpp cannot load it ({error})", where=str(path)) from error

    @cached_property
    def _letter(self) -> int:
        """A token that is a whole letter: probabilities are told before the choice, but not of half a character."""
        return self.tokens("a")[0]

    def tokens(self, text: str) -> tuple[int, ...]:
        """The ids that it reads a rendered text as, control tokens understood."""
        asked = {"content": text, "add_special": False, "parse_special": True}
        request = Request(
            f"{self._server.listening_address}/tokenize",
            data=json.dumps(asked).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urlopen(request, timeout=SECONDS) as answer:
            return tuple(json.loads(answer.read())["tokens"])

    def predictions(self, tokens: Sequence[int], places: Sequence[int]) -> Iterator[dict[int, float]]:
        """The most likely tokens at each of these places, given those before it, with their log-probabilities."""
        return (self.next_tokens(tokens[:at], TOP) for at in places)

    def next_tokens(self, tokens: Sequence[int], top: int) -> dict[int, float]:
        """The most likely next tokens with their log-probabilities, the most likely first.

        Raises:
            EtudeError: llama.cpp refused the request.
        """
        asked = {
            "prompt": list(tokens),
            "n_predict": 1,
            "n_probs": top,
            "temperature": 1.0,
            "cache_prompt": True,
            "post_sampling_probs": False,
            "logit_bias": [[self._letter, SURELY]],
        }
        found: Any = self._server.handle_completions(asked)
        try:
            listed = found["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
        except (KeyError, IndexError, TypeError) as error:
            raise EtudeError(f"llama.cpp refused a request: {str(found)[:200]}") from error
        return {int(one["id"]): float(one["logprob"]) for one in listed}
