"""What an objective takes beside the model that learns: other models, answers that are written here, further passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from etude.batch import Sample, TokenRow
from etude.config import RunFile
from etude.cycle.online import HELDOUT_PROMPTS, answer_start
from etude.cycle.outlines import Begun, bytes_beside
from etude.data.batches import epoch_order
from etude.models.paged import PAGE
from etude.models.rewarding import TOKENS_PER_PASS
from etude.planning.memory import Predicts, Work, Writing
from etude.planning.shape import Shape
from etude.sampling import padded, paged
from etude.techniques.whole import WholeModel


def with_objective(work: Work, run_file: RunFile, shape: Shape, begun: Begun, *, longest: int) -> Work:
    """The work with all that its objective asks; `longest` is the longest row, for answers that are written here
    with the longest that they may be.

    Raises:
        EtudeError: another model that it needs is not there.
    """
    objective = run_file.objective
    predicts: Predicts = "targets" if objective.needs_policy else "nothing"
    found = replace(
        work,
        trainable=work.trainable + objective.needs_values * shape.hidden,
        predicts="distributions" if objective.needs_teacher else predicts,
        reads_base_again=objective.needs_reference and isinstance(run_file.technique, WholeModel),
        second_models=_second_models(run_file, begun, bytes_a_number=work.bytes_a_number),
    )
    if not objective.online:
        return found
    return replace(
        found,
        writing=None if run_file.rollouts.vllm is not None else _writing(run_file, longest, in_pages=work.fused),
        quiet_tokens=_quiet_tokens(run_file, longest),
    )


def _second_models(run_file: RunFile, begun: Begun, *, bytes_a_number: int) -> dict[str, float]:
    """A teacher, reward models and judges on this machine, by what they are for."""
    objective, found = run_file.objective, {}
    if objective.needs_teacher:
        teacher = str(getattr(objective, "teacher", ""))
        found["teacher"] = bytes_beside(teacher, run_file, begun, bytes_a_number=bytes_a_number)
    if not objective.online:
        return found
    rewards = run_file.rollouts.rewards
    for place, one in enumerate(rewards, start=1):
        number = f" {place}" if len(rewards) > 1 else ""
        if one.kind == "model":
            reward = bytes_beside(str(one.run), run_file, begun, bytes_a_number=bytes_a_number)
            found[f"reward model{number}"] = reward
        if one.judge is not None and one.judge.model is not None:
            judge = bytes_beside(one.judge.model, run_file, begun, bytes_a_number=bytes_a_number, shares=False)
            found[f"judge{number}"] = judge
    return found


def _writing(run_file: RunFile, longest: int, *, in_pages: bool) -> Writing:
    """How many answers are written at once, those to held-out prompts among them.

    Pages hold the prompt of a group once; elsewhere each row has room of its own, which doubles when it is full.
    """
    rollouts, answers = run_file.rollouts, run_file.training.batch_rows
    if run_file.data.holdout:
        answers = max(answers, HELDOUT_PROMPTS * rollouts.group)
    rows, prompt = min(answers, rollouts.batch_rows), longest - rollouts.max_new_tokens
    groups = -(-rows // rollouts.group)
    if in_pages:
        cached = groups * _paged(prompt) + rows * _paged(rollouts.max_new_tokens)
        return Writing(rows, cached, min(groups * prompt, paged.TOKENS_PER_PASS))
    room = prompt + min(rollouts.max_new_tokens, padded.ROOM)
    while room < longest:
        room *= 2
    return Writing(rows, rows * room, min(groups * prompt, padded.TOKENS_PER_PASS))


def _paged(tokens: int) -> int:
    return -(-tokens // PAGE) * PAGE


def _quiet_tokens(run_file: RunFile, longest: int) -> int:
    """Of the largest pass between two updates: the scores of a group's answers, or a reward model's rows."""
    rollouts = run_file.rollouts
    tokens = 0
    if scores_answers(run_file):
        tokens = longest + (rollouts.group - 1) * rollouts.max_new_tokens
    if any(one.kind == "model" for one in rollouts.rewards):
        tokens = max(tokens, min(TOKENS_PER_PASS, run_file.training.batch_rows * longest))
    return tokens


def scores_answers(run_file: RunFile) -> bool:
    """Whether answers are scored by the policy before it learns from them."""
    scores: bool = getattr(run_file.objective, "scores_rollouts", False)
    return run_file.objective.online and (scores or run_file.rollouts.updates > 1)


def quiet_passes(run_file: RunFile) -> float:
    """How often each token goes forward through a model without being learned from there: references, teachers, reward
    models, scores before the first update, and the writing itself."""
    objective, rollouts = run_file.objective, run_file.rollouts
    each_update = objective.needs_reference + objective.needs_teacher
    if not objective.online:
        return float(each_update)
    models = sum(one.kind == "model" for one in rollouts.rewards) + (rollouts.vllm is None)
    scored = (1 + objective.needs_reference) if scores_answers(run_file) else 0
    return each_update + (models + scored) / rollouts.updates


def answered(run_file: RunFile, samples: Sequence[Sample], *, most: int, length: int) -> list[Sample]:
    """At most so many of the first prompts of a run, each with its group of answers of so many tokens.

    What they say is nobody's answer: only lengths count.
    """
    rollouts = run_file.rollouts
    weights = (1.0,) * length
    found = []
    for place in epoch_order(len(samples), seed=run_file.training.seed, epoch=0)[:most]:
        row = samples[int(place)].rows[0]
        prompt = tuple(int(token) for token in row.tokens[: answer_start(row)])
        before = (0.0,) * len(prompt)
        answers = [(number,) * length for number in range(rollouts.group)]
        rows = tuple(TokenRow((*prompt, *answer), (*before, *weights)) for answer in answers)
        found.append(Sample(samples[int(place)].id, rows))
    return found
