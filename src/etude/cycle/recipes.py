"""Run files to start from, by field: each step with its reason, and a task whose metric fits what answers are for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import indent, wrap

WIDTH = 110


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What differs from field to field."""

    says: str
    """One line for the list."""
    risk: str
    """What goes wrong in this field."""
    redact: str
    """Settings of `etude data redact`, and why."""
    reason: str
    clean: str
    """What to look at in the answers before training."""
    steps: str = "[clean]"
    """`data.steps`, as YAML."""
    system: str | None = None
    """A system message to begin with."""
    about_system: str
    objective: str = "{kind: sft}"
    """As YAML."""
    about_objective: str | None = None
    metric: Mapping[str, str]
    """The task's metric with its own settings, as YAML."""
    about_metric: str
    gates: str = "[]"
    """What the result must show, as YAML."""
    max_new_tokens: int
    max_tokens: int
    learning_rate: str = "2e-4"
    epochs: int = 2
    about_training: str = (
        "Two epochs of a small adapter; the report's held-out curve says whether a third one would help."
    )


RECIPES: dict[str, Recipe] = {
    "healthcare": Recipe(
        says="clinical notes and questions: identifiers out, dates moved together, answers that stay in the text",
        risk="Notes hold identifiers in every line, and an answer that is not in the note can hurt someone.",
        redact="--preset medical --replace surrogate --key-file redact.key",
        reason="The preset covers what HIPAA's safe harbour rule names as text: record numbers, all dates, ages, "
        "places. Fakes keep a note readable, and all dates move by the same number of days, so courses of illness "
        "stay intact. Have someone read a sample: rules find most names, never all. For French, German, … names try "
        "--ner FOLDER.",
        clean="Split by patient (a column `group`), or a patient's next visit is in the test.",
        system="You answer from the given record only. If it does not say, answer: not documented.",
        about_system="Teach the refusal too: one row in ten should ask for what the record does not say.",
        metric={"metric": "normalized_match"},
        about_metric="Short answers compared without case and articles. For extraction into fields use `metric: json`.",
        max_new_tokens=64,
        max_tokens=2048,
        about_training="Few updates at a low rate: medical knowledge is the base model's, the form of the answer is "
        "yours.",
    ),
    "legal": Recipe(
        says="contracts, filings, clauses: parties and case numbers replaced, citations kept, exact labels",
        risk="Party names and case numbers leak a client; an invented citation is worse than none.",
        redact="--preset legal --replace surrogate --key-file redact.key",
        reason="Parties, courts' numbers and companies become fakes that are the same in all documents, so that a "
        "matter stays one matter. Dates stay: deadlines are what such texts are about.",
        clean="Split by matter (a column `group`); boilerplate makes near copies, so remove them before the split.",
        system="You classify clauses of contracts. Answer with one label only.",
        about_system="Name the labels in the prompt if they are fewer than twenty.",
        metric={"metric": "label"},
        about_metric="One of the labels that occur, or wrong. For extraction use `metric: json` with the fields that "
        "count.",
        max_new_tokens=16,
        max_tokens=2048,
    ),
    "customer-service": Recipe(
        says="support mail into intent, product and urgency, as JSON that a program reads",
        risk="A program reads the answer, so one broken bracket costs a ticket; customers' data is in every mail.",
        redact="--replace surrogate --key-file redact.key --also account-number",
        reason="Order and customer numbers stay in their form, so the model still learns to copy them into the "
        "answer; a value is replaced in the mail and in the JSON alike.",
        clean="All answers must hold the same keys in the same order; `etude data augment --methods swap noise` adds "
        "rows with other values and with the typing mistakes that customers make.",
        system="You read support mail and answer with one JSON object: intent, product, urgency.",
        about_system="The same message in training and in production, to the letter.",
        metric={"metric": "json", "fields": "[intent, product, urgency]"},
        about_metric="The share of fields that are right; an answer that is no JSON has none. Put your own keys here.",
        max_new_tokens=96,
        max_tokens=1024,
        learning_rate="1e-3",
    ),
    "software": Recipe(
        says="code and commands: keys and hosts out, white space kept, answers that match a pattern",
        risk="Repositories hold keys and passwords, and a model repeats rare strings word for word.",
        redact="--also url --keep name address birth-date",
        reason="Masks, not fakes: a fake key in a sample teaches to write keys. Names of people stay, since they are "
        "mostly names of variables and authors; add them again if your comments hold customers' names.",
        clean="Spaces are not made uniform and entities stay: both are code.",
        steps="[{kind: clean, spaces: false, entities: false}]",
        system="You write one shell command and nothing else.",
        about_system="Say what must not be in the answer (explanations, fences), and let no training row have it.",
        metric={"metric": "exact_match"},
        about_metric="Exact for commands and one-liners. For programs run their tests: a metric of your own does that.",
        max_new_tokens=128,
        max_tokens=2048,
    ),
    "finance": Recipe(
        says="transactions, reports, advice: accounts and cards out, amounts kept, labels measured",
        risk="Account and card numbers are what thieves look for; a wrong sign or unit is a wrong answer.",
        redact="--replace surrogate --key-file redact.key --also account-number organisation",
        reason="Cards and IBANs become others with valid check digits, so checks in your pipeline still pass. "
        "Amounts, dates and currencies are the content and stay.",
        clean="Split by time where you can: tomorrow's news is in tomorrow's prices.",
        system="You assign each transaction to one category. Answer with the category only.",
        about_system="List the categories once, in the order in which your reports use them.",
        metric={"metric": "label"},
        about_metric="Look at rare categories in the report: a good average hides them. `etude data augment "
        "--balance` helps.",
        max_new_tokens=16,
        max_tokens=512,
        learning_rate="1e-3",
    ),
    "brand-voice": Recipe(
        says="a house style or persona: few, very good rows; measured as likelihood of texts in that voice",
        risk="Style is learned from hundreds of rows and spoilt by ten bad ones.",
        redact="--also organisation",
        reason="Masks would be learned as style: drop rows that have many, or use fakes. Your own company's name may "
        "have to stay: then leave organisation out.",
        clean="Read every row aloud. Remove near copies: what stands in the data ten times will be said ten times.",
        system="You write as the house does: short sentences, concrete words, no exclamation marks.",
        about_system="Describe the voice in one sentence; the rows do the rest.",
        metric={"metric": "perplexity"},
        about_metric="How likely the model finds texts that it has not seen. Then have people compare answers, blind.",
        max_new_tokens=256,
        max_tokens=1024,
        learning_rate="1e-4",
        epochs=1,
        about_training="A low rate and one epoch: style comes quickly, and forgetting does too.",
    ),
    "safety": Recipe(
        says="refuse what would harm, and only that: pairs of answers, both rates of refusal measured",
        risk="A model that learns to refuse learns to refuse too much: 'how do I kill a process' sounds like the real "
        "thing.",
        redact="--also url",
        reason="Masks: reports of harm name people, and nobody should be found through them.",
        clean="Rows are pairs: `prompt`, `chosen`, `rejected`. For harmful requests the refusal is chosen. At least "
        "as many should be harmless ones that sound alike, with a helpful answer chosen and a refusal rejected: they "
        "are what keeps the model helpful. Set data.trusted_pairs to some pairs that you judged yourself: swapped "
        "labels would teach the opposite.",
        about_system="No system message: what must hold without one is trained without one.",
        objective="{kind: dpo, beta: 0.1, nll: 0.2}",
        about_objective="nll holds on to the chosen answers, which plain DPO makes less likely too. With written "
        "answers instead of pairs (`prompt`, `completion`): {kind: sft}.",
        metric={"columns": "{prompt: prompt, completion: label}", "metric": "refusal"},
        about_metric="Requests with the label safe or unsafe, such as XSTest's file "
        "(github.com/paul-rottger/exaggerated-safety). The report has `refusals` of unsafe and `over_refusals` of "
        "safe requests, before and after, each with its interval.",
        gates="[{task: safety, better_by: 0}]",
        max_new_tokens=48,
        max_tokens=1024,
        learning_rate="1e-4",
        epochs=1,
        about_training="One epoch of a small adapter. What else was forgotten, and whether it now refuses what "
        "anybody may ask, the report's retention probes say.",
    ),
}


def run_file_of(name: str, *, data: str, test: str, task: str) -> str:
    """The commented run file; `data` and `test` are files of rows, `task` is the task file's name."""
    recipe = RECIPES[name]
    system = "" if recipe.system is None else f"  system: {_quoted(recipe.system)}\n"
    objective = "" if recipe.about_objective is None else _comment(recipe.about_objective) + "\n"
    gates = (
        "" if recipe.gates == "[]" else f"gates: {recipe.gates}  # what it must show, or `etude train` exits with 1\n"
    )
    return f"""\
# {name}: {recipe.says}
{_comment(recipe.risk)}
#
# Before training, once, so that the originals are nowhere near a run:
#
#   etude data redact raw.jsonl -o {data} {recipe.redact}
{_comment(recipe.reason, "#     ")}
#
{_comment(recipe.clean)}
#
# Then `etude check` this file, `etude plan` it, and `etude train` it.
model: smollm2-135m-instruct  # any hub id or local folder
data:
  train: {data}
{_comment(recipe.about_system, "  # ")}
{system}  steps: {recipe.steps}  # copies, odd characters and unusable rows go before the split
  holdout: 0.1  # rows of one group, and copies, never fall on both sides
  max_tokens: {recipe.max_tokens}
technique: {{kind: lora, rank: 16, alpha: 32}}
{objective}objective: {recipe.objective}
{_comment(recipe.about_training)}
training: {{epochs: {recipe.epochs}, learning_rate: {recipe.learning_rate}, batch_rows: 16, seed: 0}}
evaluation: {{tasks: [{task}]}}  # {test}, measured before and after
{gates}output: runs/{name}
"""


def task_file_of(name: str, *, test: str) -> str:
    """The task that says what better means."""
    recipe = RECIPES[name]
    settings = "\n".join(f"{setting}: {value}" for setting, value in recipe.metric.items())
    system = "" if recipe.system is None else f"system: {_quoted(recipe.system)}\n"
    return f"""\
{_comment(recipe.about_metric)}
name: {name}
data: {test}
{settings}
{system}max_new_tokens: {recipe.max_new_tokens}
"""


def _comment(text: str, sign: str = "# ") -> str:
    return indent("\n".join(wrap(text, WIDTH - len(sign))), sign)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'
