"""Batched decoding: prompts of any length in, answers with their log-probabilities out, in the prompts' order.

A row's answer does not depend on the other rows, on their number or on padding: attention follows positions alone, and
the random numbers of a row come from the seed, its index among the prompts and the step. What remains is the rounding
of matrix products of different shapes: two tokens that are equally likely to the last bits (in bfloat16: the last of
8) may change places.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from etude.errors import ModelError
from etude.models.layers.virtual import lead_ids
from etude.sampling.answer import Answer, Completion
from etude.sampling.choice import choose
from etude.sampling.decoder import Decoder, decoder_for
from etude.sampling.options import SampleOptions

if TYPE_CHECKING:
    from etude.models.loaded import LoadedModel

__all__ = ["Completion", "sample", "stream"]

SHRINK_AT = 0.75
"""Finished rows leave the batch once no more than this share is still going."""


def sample(
    model: LoadedModel,
    prompts: Sequence[Sequence[int]],
    options: SampleOptions,
    *,
    end_ids: frozenset[int],
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """Answers every prompt (token ids), in the prompts' order; `on_progress` gets (answers done, prompts).

    Raises Problems for options out of range, ModelError for an empty prompt, one that leaves no room for
    `max_new_tokens` in the model's context, and logits that are not finite.
    """
    _check(model, prompts, options)
    if not prompts:
        return []
    answers = [Answer(i, tuple(prompt), model.tokenizer, options, end_ids=end_ids) for i, prompt in enumerate(prompts)]
    with _evaluating(model):
        lead = lead_ids(model.module)
        decoder = decoder_for(model, [(*lead, *answer.prompt) for answer in answers], options.max_new_tokens)
    done = 0
    with _evaluating(model), decoder.attention():
        for batch in _batches(answers, options.batch_rows, decoder):
            for finished in _answer(decoder, batch, options, lead):
                done += finished
                if finished and on_progress is not None:
                    on_progress(done, len(answers))
    return [answer.completion() for answer in answers]


def stream(
    model: LoadedModel, prompt: Sequence[int], options: SampleOptions, *, end_ids: frozenset[int]
) -> Generator[str, None, Completion]:
    """Answers one prompt and yields its text as it is certain; returns the completion. Same answer as `sample`'s.

    Between two pieces the model is as it was before, so the caller may use or train it.
    """
    _check(model, [prompt], options)
    answer = Answer(0, tuple(prompt), model.tokenizer, options, end_ids=end_ids, streams=True)
    with _evaluating(model):
        lead = lead_ids(model.module)
        decoder = decoder_for(model, [(*lead, *answer.prompt)], options.max_new_tokens)
    steps = _answer(decoder, [answer], options, lead)
    given = ""
    while answer.finish is None:
        with _evaluating(model), decoder.attention():
            next(steps)
        text = answer.certain_text()
        if len(text) > len(given):
            yield text[len(given) :]
            given = text
    return answer.completion()


def _answer(
    decoder: Decoder, answers: Sequence[Answer], options: SampleOptions, lead: tuple[int, ...]
) -> Iterator[int]:
    """Decodes one batch to its end, prompts behind the lead; yields after each step how many it finished."""
    rows, num_going = list(answers), len(answers)
    for answer in rows:
        answer.begin()
    logits_RV = decoder.start([(*lead, *answer.prompt) for answer in rows], options.max_new_tokens)
    while True:
        token_R, logprob_R = choose(logits_RV, [answer.uniform() for answer in rows], options)
        going = []
        for i, (answer, token, logprob) in enumerate(zip(rows, token_R.tolist(), logprob_R.tolist(), strict=True)):
            if answer.finish is not None:
                continue
            if logprob != logprob:
                raise ModelError(
                    "the model's logits are not finite numbers",
                    where=f"prompt {answer.row}, step {len(answer.tokens)}",
                    remedy="check the weights; float16 overflows, so try float32 or bfloat16",
                )
            answer.add(token, logprob)
            if answer.finish is None:
                going.append(i)
        yield num_going - len(going)
        num_going = len(going)
        if not going:
            return
        if len(going) <= SHRINK_AT * len(rows):
            decoder.keep(going)
            rows, token_R = [rows[i] for i in going], token_R[going]
        logits_RV = decoder.step(token_R)


def _batches(answers: Sequence[Answer], batch_rows: int, decoder: Decoder) -> Iterator[list[Answer]]:
    """Neighbours alike, so that equal prompts meet: by length, or by how they begin where that is computed once."""
    batch: list[Answer] = []
    for answer in sorted(answers, key=lambda one: (0 if decoder.shares else -len(one.prompt), one.prompt)):
        fits = decoder.pads or not batch or len(answer.prompt) == len(batch[0].prompt)
        if len(batch) == batch_rows or not fits:
            yield batch
            batch = []
        batch.append(answer)
    if batch:
        yield batch


@contextmanager
def _evaluating(model: LoadedModel) -> Iterator[None]:
    """Evaluation mode and no gradients; as before at the end, errors included."""
    training = [part for part in model.module.modules() if part.training]
    model.module.train(False)
    try:
        with torch.inference_mode():
            yield
    finally:
        for part in training:
            part.training = True


def _check(model: LoadedModel, prompts: Sequence[Sequence[int]], options: SampleOptions) -> None:
    options.check()
    config = model.module.config.get_text_config()
    name = config.attribute_map.get("max_position_embeddings", "max_position_embeddings")
    context, num_lead = config.to_dict().get(name), len(lead_ids(model.module))
    for i, prompt in enumerate(prompts):
        where = f"{model.name}, prompt {i}"
        if not len(prompt):
            raise ModelError("the prompt has no tokens", where=where, remedy="begin it with a BOS token")
        if not 0 <= min(prompt) <= max(prompt) < config.vocab_size:
            raise ModelError(
                f"token {max(prompt, key=abs)} is not in the vocabulary of {config.vocab_size}",
                where=where,
                remedy="encode with the model's own tokenizer",
            )
        num = num_lead + len(prompt)
        if context is not None and num + options.max_new_tokens > context:
            raise ModelError(
                f"{num} tokens + max_new_tokens {options.max_new_tokens} exceed the context of {context}",
                where=where,
                remedy="shorten the prompt or lower max_new_tokens",
            )
