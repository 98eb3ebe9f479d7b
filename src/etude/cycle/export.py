"""From a run, an adapter or a model to files for other tools, with the proof that they answer the same."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from etude import durable
from etude.batch import TokenRow
from etude.config import RunFile, load_run_file
from etude.cycle.rows import prepare_rows
from etude.cycle.show import Quiet, Show
from etude.cycle.subjects import Named, open_subject
from etude.endpoints.options import VllmOptions
from etude.errors import ConfigError, EtudeError, ModelError
from etude.exporting.card import CardFacts, model_card
from etude.exporting.gguf_file import NumberType, write_gguf
from etude.exporting.hub import push_folder, require_login
from etude.exporting.in_vllm import loaded_in_vllm
from etude.exporting.llama_cpp import LlamaCpp
from etude.exporting.modelfile import default_system, write_modelfile
from etude.exporting.parity import Expected, Parity, against_engine, against_model
from etude.models.load import load
from etude.models.options import ModelOptions
from etude.runs.directory import is_run, open_run
from etude.techniques.policy import Policy

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from etude.models.loaded import LoadedModel, Subject

Form = Literal["merged", "adapter", "gguf", "ollama"]
MergedPrecision = Literal["float32", "bfloat16", "float16"]
ROWS_COMPARED = 24
QUESTIONS = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Is 17 a prime number? Answer yes or no.",
    "My parcel has not arrived and nobody answers the phone.",
)
"""Asked where there is no run to take rows from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporting:
    """What is wanted."""

    to: Form = "merged"
    out: Path
    precision: MergedPrecision = "bfloat16"
    """Of merged weights."""
    numbers: NumberType = "q8_0"
    """Of a GGUF file."""
    name: str | None = None
    """What the model is called in its card and files; the folder's name if left out."""
    vllm: VllmOptions | None = None
    """A server of the base model that is asked for the same; adapters only."""
    push_to: str | None = None
    """A hub repository, `owner/name`, to which the folder goes afterwards."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how it compares."""

    out: Path
    parity: tuple[Parity, ...]
    notes: tuple[str, ...]
    pushed: str | None = None
    """The address of the hub repository that has it now."""

    @property
    def holds(self) -> bool:
        return all(one.holds for one in self.parity)


def export(subject: str, wanted: Exporting, *, show: Show | None = None) -> Exported:
    """Writes the folder, compares what it holds with the trained model, and says so in `parity.json` and the card.

    An export that does not answer alike stays for a look, marked by a file `EXPORT_FAILED`; it is never pushed.

    Raises:
        EtudeError: anything the user can mend; nothing is left then.
    """
    show = show or Quiet()
    if wanted.vllm is not None and wanted.to != "adapter":
        raise ConfigError("--vllm takes adapters only", where=f"--to {wanted.to}", remedy="export with --to adapter")
    if wanted.out.exists():
        raise ConfigError("is there already", where=str(wanted.out), remedy="name another folder by --out")
    if wanted.push_to is not None:
        require_login(wanted.push_to)
    show.say(f"asking {subject} for its answers")
    trained = open_subject(subject)
    facts = _facts(subject, trained, name=wanted.name or wanted.out.name)
    with trained.use() as model:
        rows = _rows(subject, model)
        expected = Expected.of(model, rows)
        texts = _texts(model.tokenizer, expected.rows)
    if not texts:
        raise EtudeError("none of its rows reads as the same tokens again, so nothing can be compared", where=subject)
    del model, trained
    wanted.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wanted.out.parent, prefix=".exporting-") as building:
        folder = Path(building) / wanted.out.name
        show.say(f"writing {wanted.to}")
        compared, notes = _written(subject, wanted, folder, expected, texts)
        facts = replace(facts, parity=compared)
        library = "peft" if wanted.to == "adapter" else "gguf" if wanted.to in ("gguf", "ollama") else "transformers"
        durable.write_text(folder / "README.md", model_card(facts, library=library))
        durable.write_json(folder / "parity.json", {"parity": [one.as_dict() for one in compared]})
        exported = Exported(wanted.out, compared, notes)
        if not exported.holds:
            durable.write_text(folder / "EXPORT_FAILED", "\n".join(one.sentence() for one in compared) + "\n")
        durable.replace(folder, wanted.out)
    if wanted.push_to is not None and exported.holds:
        show.say(f"sending {wanted.out} to {wanted.push_to}")
        return replace(exported, pushed=push_folder(wanted.out, wanted.push_to))
    return exported


def form_for_hub(subject: str) -> Form:
    """What a hub is given: the adapter alone where there is one, else the whole model."""
    return "merged" if _adapter_folder(subject) is None else "adapter"


def _written(
    subject: str, wanted: Exporting, folder: Path, expected: Expected, texts: Sequence[tuple[str, tuple[int, ...]]]
) -> tuple[tuple[Parity, ...], tuple[str, ...]]:
    if wanted.to == "adapter":
        return _adapter(subject, wanted, folder, expected, texts), ()
    merged = folder if wanted.to == "merged" else folder.with_name("merged")
    precision: MergedPrecision = wanted.precision if wanted.to == "merged" else "float32"
    _merge(subject, merged, precision)
    if wanted.to == "merged":
        return (_compared_folder(merged, expected, texts, form="merged", held=precision),), ()
    folder.mkdir()
    name = wanted.name or wanted.out.name
    path = folder / f"{name}-{wanted.numbers}.gguf"
    write_gguf(merged, path, wanted.numbers, name=name)
    if wanted.to == "ollama":
        tokenizer = _tokenizer_of(merged)
        system = default_system(tokenizer)
        write_modelfile(folder / "Modelfile", path, chat_template=str(tokenizer.chat_template), system=system)
    shutil.rmtree(merged)
    compared = [_compared_folder(path, expected, texts, form=path.name, held=wanted.numbers)]
    notes: list[str] = []
    try:
        engine = LlamaCpp(path, longest=max(len(row.tokens) for row in expected.rows) + 8)
        form = f"{path.name} in llama.cpp"
        compared.append(against_engine(expected, engine, texts, form=form, held=wanted.numbers))
    except EtudeError as error:
        if "not installed" not in str(error):
            raise
        notes.append(f"not compared in llama.cpp: {error}")
    return tuple(compared), tuple(notes)


def _adapter(
    subject: str, wanted: Exporting, folder: Path, expected: Expected, texts: Sequence[tuple[str, tuple[int, ...]]]
) -> tuple[Parity, ...]:
    """Copies the adapter, and reads the copy."""
    source = _adapter_folder(subject)
    if source is None:
        raise ModelError("holds no adapter: its weights need no base", where=subject, remedy="export `--to merged`")
    shutil.copytree(source, folder)
    again = open_subject(str(folder))
    with again.use() as model:
        parity = against_model(expected, model, form="adapter", held=expected.held, same_tokens=True)
    if wanted.vllm is None:
        return (parity,)
    with loaded_in_vllm(wanted.vllm, folder) as engine:  # which holds its numbers in 16 bits unless it is told
        served = against_engine(expected, engine, texts, form="adapter in vLLM", held="bfloat16")
    return parity, served


def _adapter_folder(subject: str) -> Path | None:
    folder = Path(subject)
    if is_run(folder):
        run = open_run(folder)
        return run.adapter if run.weights == run.adapter else None
    return folder if (folder / "adapter_config.json").is_file() else None


def _merge(subject: str, folder: Path, precision: MergedPrecision) -> None:
    """A plain transformers folder: merged in float32, then rounded once."""
    import torch

    opened = open_subject(subject, precision="float32")
    inner = opened.subject if isinstance(opened, Named) else opened
    if isinstance(inner, Policy):
        model = inner.merge()
    else:
        with inner.use() as model:
            pass
    module = model.module.to(getattr(torch, precision))
    module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)


def _tokenizer_of(folder: Path) -> PreTrainedTokenizerBase:
    from etude.models.load import load_tokenizer

    return load_tokenizer(str(folder))


def _compared_folder(
    path: Path, expected: Expected, texts: Sequence[tuple[str, tuple[int, ...]]], *, form: str, held: str
) -> Parity:
    """What was written, loaded again as anyone would."""
    model = load(ModelOptions(name=str(path), precision="bfloat16" if held == "bfloat16" else "float32"))
    same = all(tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"]) == ids for text, ids in texts)
    return against_model(expected, model, form=form, held=held, same_tokens=same)


def _texts(tokenizer: PreTrainedTokenizerBase, rows: Sequence[TokenRow]) -> list[tuple[str, tuple[int, ...]]]:
    """Rows as text, those that the tokenizer itself reads as the same tokens again."""
    found = []
    for row in rows:
        ids = tuple(int(token) for token in row.tokens)
        text = str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
        if tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) == ids:
            found.append((text, ids))
    return found


def _rows(subject: str, model: LoadedModel) -> list[TokenRow]:
    """Rows that the run did not learn, or learned; the model's own answers to a few questions where there is no run."""
    if is_run(Path(subject)):
        run_file = load_run_file(open_run(Path(subject)).run_file)
        prepared = prepare_rows(run_file, Quiet(), quarantine=None)
        samples = prepared.heldout or prepared.samples
        chosen = [samples[i] for i in range(min(ROWS_COMPARED, len(samples)))]
        return [row for sample in chosen for row in sample.rows]
    return _answers(model)


def _answers(model: LoadedModel) -> list[TokenRow]:
    from etude.data.render import Renderer
    from etude.records import Message
    from etude.sampling.options import SampleOptions
    from etude.sampling.sampler import sample

    renderer = Renderer(model.tokenizer)
    prompts = [renderer.prompt([Message(role="user", content=question)]) for question in QUESTIONS]
    answers = sample(model, prompts, SampleOptions(max_new_tokens=24), end_ids=frozenset())
    return [
        TokenRow((*prompt, *answer.tokens), (0.0,) * len(prompt) + (1.0,) * len(answer.tokens))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def _facts(subject: str, trained: Subject, *, name: str) -> CardFacts:
    """What the card says."""
    if not is_run(Path(subject)):
        with trained.use() as model:
            base, base_hash = model.name, model.base_hash
        return CardFacts(
            name=name, base=base, base_hash=base_hash, license=None, technique={"kind": "unknown"}, objective="unknown",
            data_source="unknown", data_sha256="unknown", data_rows=None,
        )  # fmt: skip
    run = open_run(Path(subject))
    run_file: RunFile = load_run_file(run.run_file, check_files=False)
    manifest = run.manifest()
    verdict, data = _json(run.verdict_file), _json(run.data_file)
    return CardFacts(
        name=name,
        base=manifest.base.name,
        base_hash=manifest.base.hash,
        license=_license(run_file),
        technique=asdict(run_file.technique),  # type: ignore[call-overload]  # every technique is a dataclass
        objective=str(getattr(run_file.objective, "kind", "")),
        data_source=Path(manifest.data.source).name,
        data_sha256=manifest.data.sha256,
        data_rows=data.get("train_rows"),
        verdicts=verdict.get("verdicts") or (),
        gap=verdict.get("gap"),
        timings=manifest.timings,
        versions=manifest.versions,
        seed=manifest.seed,
    )


def _license(run_file: RunFile) -> str | None:
    """The licence in the base model's own card."""
    from etude.models.source import find_folder

    card = find_folder(run_file.model.name, revision=run_file.model.revision) / "README.md"
    if not card.is_file():
        return None
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("license:")), None)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
