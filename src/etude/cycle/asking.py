"""Models that write, judge and score for a synthesis: an endpoint, a base model, an adapter or a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from etude.data.synthesis.asking import Reward, Writer
from etude.endpoints.cache import AnswerCache
from etude.endpoints.exchange import Ask, NoReply, Reply
from etude.errors import DataError, EtudeError, ModelError
from etude.json_values import json_sha256
from etude.records import Message

if TYPE_CHECKING:
    from etude.data.render import Renderer
    from etude.endpoints.client import Endpoint
    from etude.models.loaded import LoadedModel, Subject

SETTINGS_FILES = (".yaml", ".yml")
MOST_TOKENS = 256
"""Longest answer of a local model, where nothing is said."""
BATCH = 16
"""Questions that a local model answers together; a stopped job goes on from the last whole batch."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How a model answers."""

    temperature: float | None = None
    """Of the draw; None: an endpoint's own, 0.8 of a local model."""
    max_tokens: int | None = None
    """Longest answer; None: an endpoint's own, 256 of a local model."""
    seed: int = 0
    """What a local model's draws depend on."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an endpoint may be asked for; None: what its settings file says."""

    most_requests: int | None = None
    most_tokens: int | None = None
    most_cost: float | None = None


def is_endpoint(name: str) -> bool:
    """Whether that is the file of an endpoint's settings, and not a model on this machine."""
    return Path(name).suffix.lower() in SETTINGS_FILES


def open_writer(name: str, cache: Path, drawing: Drawing, limits: Limits | None = None) -> Writer:
    """Whoever goes by that name; answers are kept in `cache`, unless an endpoint's file names another folder.

    Raises:
        EtudeError: nobody does, or settings are out of range, or limits are given for a local model.
    """
    given = {name: value for name, value in vars(limits or Limits()).items() if value is not None}
    if is_endpoint(name):
        return _endpoint(name, cache, drawing, given)
    if given:
        flags = ", ".join(f"--{one.replace('_', '-')}" for one in given)
        raise EtudeError(f"limits an endpoint, and {name} is none", where=flags, remedy="use --rows and --attempts")
    from etude.cycle.subjects import open_subject

    return LocalWriter(name, open_subject(name), AnswerCache(cache), drawing)


def open_judge(name: str, cache: Path, *, writer: Writer) -> Writer:
    """Whoever goes by that name, to judge what `writer` writes: one on this machine gives its likeliest answer, an
    endpoint is asked as its file says. A model that judges itself is not held twice.

    Raises EtudeError as `open_writer` does.
    """
    surely = Drawing(temperature=0.0)
    if isinstance(writer, LocalWriter) and writer.name == name:
        return LocalWriter(name, writer.subject, writer.cache, surely)
    return open_writer(name, cache, Drawing() if is_endpoint(name) else surely)


def _endpoint(name: str, cache: Path, drawing: Drawing, limits: dict[str, int | float]) -> EndpointWriter:
    from etude.config.decode import load_endpoint
    from etude.endpoints.client import open_endpoint

    options = load_endpoint(name)
    found = {"temperature": drawing.temperature, "max_tokens": drawing.max_tokens, **limits}
    options = replace(options, **{name: value for name, value in found.items() if value is not None})  # type: ignore[arg-type]  # each is of its field's type
    folder = str(cache) if options.cache is None else str(Path(options.cache).expanduser())
    return EndpointWriter(open_endpoint(replace(options, cache=folder)))


@dataclass(frozen=True)
class EndpointWriter:
    """A model behind an endpoint."""

    endpoint: Endpoint

    @property
    def name(self) -> str:
        return self.endpoint.options.model

    @property
    def varies(self) -> bool:
        return self.endpoint.options.temperature != 0

    def answers(self, asks: Iterable[Ask]) -> Iterator[Reply | NoReply]:
        """As the endpoint answers."""
        return self.endpoint.answers(asks)

    def cost(self, reply: Reply) -> float:
        """By the prices in the settings."""
        options = self.endpoint.options
        return (reply.tokens_asked * options.price_asked + reply.tokens_answered * options.price_answered) / 1e6


@dataclass
class LocalWriter:
    """A model on this machine. What it draws for a question depends on the questions of its batch alone."""

    name: str
    subject: Subject
    cache: AnswerCache
    drawing: Drawing
    _identity: str = field(default="", init=False)

    @property
    def varies(self) -> bool:
        return self._temperature > 0

    @property
    def _temperature(self) -> float:
        return 0.8 if self.drawing.temperature is None else self.drawing.temperature

    def cost(self, reply: Reply) -> float:
        """Nothing."""
        return 0.0

    def answers(self, asks: Iterable[Ask]) -> Iterator[Reply | NoReply]:
        """An answer for each question, in order, BATCH at once; a batch that is known is not written again."""
        rest = iter(asks)
        while batch := list(islice(rest, BATCH)):
            keys = self._keys(batch)
            known = [self.cache.read(key) for key in keys]
            if None not in known:
                yield from (reply for reply in known if reply is not None)
                continue
            written = self._written(batch, seed=int(keys[0][:8], 16))
            for key, reply in zip(keys, written, strict=True):
                if isinstance(reply, Reply):
                    self.cache.write(key, reply)
            yield from written

    def _keys(self, batch: Sequence[Ask]) -> list[str]:
        """Names of the answers: everything that decides them, hashed."""
        if not self._identity:
            with self.subject.use() as model:
                self._identity = f"{model.base_hash}/{_learned(self.name)}"
        together = [self._identity, asdict(self.drawing), [asdict(ask) for ask in batch]]
        return [json_sha256([together, place]) for place in range(len(batch))]

    def _written(self, batch: Sequence[Ask], *, seed: int) -> list[Reply | NoReply]:
        from etude.data.render import Renderer

        with self.subject.use() as model:
            renderer = Renderer(model.tokenizer)
            found: list[Reply | NoReply] = []
            prompts: list[tuple[int, ...] | str] = [_rendered(renderer, ask) for ask in batch]
            good = [prompt for prompt in prompts if not isinstance(prompt, str)]
            try:
                told = iter(self._sampled(model, renderer, good, seed))
            except ModelError:  # one of them is too long: each by itself
                return [self._alone(model, renderer, prompt, seed) for prompt in prompts]
            for prompt in prompts:
                found.append(NoReply(prompt) if isinstance(prompt, str) else next(told))
        return found

    def _alone(
        self, model: LoadedModel, renderer: Renderer, prompt: tuple[int, ...] | str, seed: int
    ) -> Reply | NoReply:
        if isinstance(prompt, str):
            return NoReply(prompt)
        try:
            return self._sampled(model, renderer, [prompt], seed)[0]
        except ModelError as error:
            return NoReply(error.found, refused=True)

    def _sampled(
        self, model: LoadedModel, renderer: Renderer, prompts: list[tuple[int, ...]], seed: int
    ) -> list[Reply]:
        from etude.sampling.options import SampleOptions
        from etude.sampling.sampler import sample

        longest = self.drawing.max_tokens or MOST_TOKENS
        options = SampleOptions(max_new_tokens=longest, temperature=self._temperature, seed=seed)
        told = sample(model, prompts, options, end_ids=renderer.end_ids)
        return [
            Reply(one.text, one.finish, len(prompt), len(one.tokens)) for prompt, one in zip(prompts, told, strict=True)
        ]


def _rendered(renderer: Renderer, ask: Ask) -> tuple[int, ...] | str:
    """The question's tokens, or why the template refuses it."""
    try:
        return renderer.prompt(tuple(Message(role, text) for role, text in ask.messages))
    except DataError as error:
        return error.found


def _learned(name: str) -> str:
    """A hash of what a run or an adapter learned; empty for a base model, whose own hash says all."""
    from etude.runs.directory import is_run, open_run

    folder = Path(name)
    if is_run(folder):
        found = open_run(folder).weights
        assert found is not None, "a run without weights was opened"
        folder = found
    digest = sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def reward_of(run: str) -> Reward:
    """What a run's reward model says of answers to prompts. Raises EtudeError: no run, or one without a value head."""
    from etude.cycle.online import open_reward_model
    from etude.cycle.subjects import open_subject
    from etude.data.render import Renderer
    from etude.records import Conversation, Origin

    rewards: Callable[[Sequence[Sequence[int]]], list[float]] = open_reward_model(run)
    with open_subject(run).use() as model:
        renderer = Renderer(model.tokenizer)
    origin = Origin(run, 0)

    def scored(pairs: Sequence[tuple[tuple[Message, ...], str]]) -> list[float]:
        chats = [Conversation((*prompt, Message("assistant", answer)), origin) for prompt, answer in pairs]
        return rewards([renderer.row(chat).tokens for chat in chats])

    return scored
