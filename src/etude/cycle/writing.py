"""A model or run as something that writes a text for each prompt: for data commands that let a model write."""

from __future__ import annotations

from collections.abc import Callable

MOST_TOKENS = 256


def writer(name: str, *, seed: int, temperature: float = 0.7) -> Callable[[list[str]], list[str]]:
    """The function that writes; the model is loaded when it is first called. Errors are those of `open_subject`."""
    from functools import cache

    from etude.cycle.subjects import open_subject

    opened = cache(lambda: open_subject(name))

    def write(prompts: list[str]) -> list[str]:
        from etude.data.render import Renderer
        from etude.records import Message
        from etude.sampling.options import SampleOptions
        from etude.sampling.sampler import sample

        with opened().use() as model:
            renderer = Renderer(model.tokenizer)
            rendered = [renderer.prompt((Message("user", prompt),)) for prompt in prompts]
            options = SampleOptions(max_new_tokens=MOST_TOKENS, temperature=temperature, seed=seed)
            return [answer.text for answer in sample(model, rendered, options, end_ids=renderer.end_ids)]

    return write
