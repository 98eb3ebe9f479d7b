"""A model of ours as lm-evaluation-harness's LM: log-likelihoods by our scoring, answers by our sampler.

Requests are cut into tokens as the harness's own Hugging Face backend cuts them, so that scores compare.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lm_eval import utils
from lm_eval.api.model import TemplateLM

from etude.errors import EtudeError
from etude.evaluation.items import context_tokens
from etude.models.continuations import score_continuations
from etude.sampling.options import SampleOptions
from etude.sampling.sampler import sample

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

    from etude.models.loaded import LoadedModel

OnProgress = Callable[[int, int], None]
MOST_NEW_TOKENS = 256
"""Longest answer where a task sets none; the harness's own default."""
UNLIMITED = 1 << 20
DRAWN_BY = ("temperature", "top_p", "top_k")


class HarnessModel(TemplateLM):  # type: ignore[misc]  # the harness has no types
    """What the harness asks."""

    def __init__(self, model: LoadedModel, *, batch_rows: int, on_progress: OnProgress | None) -> None:
        super().__init__()
        self.model, self.batch_rows, self.on_progress = model, batch_rows, on_progress
        self.tokenizer = model.tokenizer
        self.max_length = context_tokens(model) or UNLIMITED

    @property
    def eot_token_id(self) -> int:
        """Ends an answer."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """Stands before a text that nothing stands before."""
        start = self.tokenizer.bos_token_id
        return self.eot_token_id if start is None else int(start)

    @property
    def tokenizer_name(self) -> str:
        """Under which the harness keeps prepared requests."""
        return self.model.name.replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids; a text that begins with the start token gets no second one."""
        begins = string.startswith(str(self.tokenizer.decode(self.prefix_token_id)))
        if add_special_tokens is None and not begins:
            return list(self.tokenizer.encode(string))
        return list(self.tokenizer.encode(string, add_special_tokens=bool(add_special_tokens)))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as one text."""
        text = self.tokenizer.apply_chat_template(
            chat_history, tokenize=False, add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )  # fmt: skip
        return str(text)

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Of each continuation after its context, and whether it is the likeliest."""
        return list(super().loglikelihood(requests, disable_tqdm=disable_tqdm))

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        rows = [
            ((*context, *continuation)[-(self.max_length + 1) :], min(len(continuation), self.max_length))
            for _, context, continuation in requests
        ]
        return score_continuations(self.model, rows, on_progress=self.on_progress)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = True) -> list[float]:
        """Of each whole text, cut into windows where it is longer than the model's context."""
        windows = [
            [
                utils.make_disjoint_window(window)
                for window in utils.get_rolling_token_windows(
                    token_list=self.tok_encode(request.args[0]),
                    prefix_token=self.prefix_token_id,
                    max_seq_len=self.max_length,
                    context_len=1,
                )
            ]
            for request in requests
        ]
        every = [(None, list(context), list(rest)) for parts in windows for context, rest in parts]
        scored = iter(self._loglikelihood_tokens(every))
        return [sum(next(scored)[0] for _ in parts) for parts in windows]

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Answers, those with the same settings together."""
        groups: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(place)
        found = [""] * len(requests)
        for settings, places in groups.items():
            texts = self._written([requests[place].args[0] for place in places], json.loads(settings))
            for place, text in zip(places, texts, strict=True):
                found[place] = text
        return found

    def _written(self, contexts: Sequence[str], settings: Mapping[str, Any]) -> list[str]:
        options = drawing(settings, batch_rows=self.batch_rows)
        room = self.max_length - options.max_new_tokens
        if room < 1:
            raise EtudeError(
                f"asks for {options.max_new_tokens} new tokens, and the model's context is {self.max_length}",
                where="--harness",
            )
        prompts = [self.tok_encode(context)[-room:] for context in contexts]
        ends = frozenset((self.eot_token_id,))
        answers = sample(self.model, prompts, options, end_ids=ends, on_progress=self.on_progress)
        return [answer.text for answer in answers]


def drawing(settings: Mapping[str, Any], *, batch_rows: int) -> SampleOptions:
    """A task's generation settings as ours. Raises EtudeError for one that the sampler does not have."""
    given = dict(settings)
    until = given.pop("until", None) or []
    longest = next((given.pop(name) for name in ("max_gen_toks", "max_new_tokens") if name in given), MOST_NEW_TOKENS)
    drawn = given.pop("do_sample", None)
    heat = float(given.pop("temperature", 1.0 if drawn else 0.0))
    rest = {name: given.pop(name) for name in DRAWN_BY if name in given}
    if given:
        raise EtudeError(f"asks for settings of generation that the sampler has not: {', '.join(given)}", where="task")
    return SampleOptions(
        max_new_tokens=int(longest),
        temperature=0.0 if drawn is False else heat,
        stop=tuple(text for text in ([until] if isinstance(until, str) else until) if text),
        batch_rows=batch_rows,
        **rest,
    )
