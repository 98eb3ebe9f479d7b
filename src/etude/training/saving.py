"""Between the loop and the disk: what a checkpoint holds, when a run resumes, what is written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from etude.errors import CheckpointError
from etude.training.checkpoint import TrainState, commit_together, find_together, restore
from etude.training.guard import Guard
from etude.training.heldout import Best
from etude.training.journal import Journal
from etude.training.memory import Room
from etude.training.optimizer import MasterAdamW
from etude.training.progress import Progress
from etude.training.ranks import Ranks

CHECKPOINTS = "checkpoints"
BEST_FACTS = ("loss", "score", "step", "looks_since")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run lives on disk, and whether it goes on from its last checkpoint."""

    folder: Path
    run_id: str
    identity: Mapping[str, str] = field(default_factory=dict)
    """Hashes (settings, data, base, template) that a checkpoint must have been made with."""
    fence: Callable[[], None] | None = None
    """Raises when another process has taken the run over."""
    resume: bool = False
    resume_with: str = "the same call with resume=True"
    """How the user says it."""
    say: Callable[[str], None] = print
    """Where notices go: which checkpoints were skipped and why."""


class Saver:
    """Writes the diary and the checkpoints of one run; on other ranks than the main one it only waits."""

    def __init__(self, place: Place, ranks: Ranks, *, keep: int) -> None:
        self.place, self.ranks, self.keep = place, ranks, keep
        self.journal = Journal(place.folder)
        self.last_saved: int | None = None

    def write_down(self, progress: Progress, sample_ids: Sequence[str]) -> None:
        """One update into the diary."""
        if not self.ranks.is_main:
            return
        self.journal.update(progress, sample_ids)
        if progress.heldout_loss is not None:
            self.journal.heldout(progress.step, progress.heldout_loss, progress.heldout_figures, progress.live)

    def save(self, step: int, optimizer: MasterAdamW, guard: Guard, best: Best, room: Room) -> None:
        """Commits a checkpoint; a full disk costs this checkpoint and nothing else."""
        tensors = {f"weights/{name}": p.detach() for name, p in optimizer.trainable.items()}
        tensors.update({f"optimizer/{name}": value for name, value in optimizer.state().items()})
        tensors.update({f"best/{name}": value for name, value in best.weights.items()})
        facts = {
            "guard": {"losses": guard.losses, "norms": guard.norms, "skipped_in_a_row": guard.skipped_in_a_row},
            "best": {name: getattr(best, name) for name in BEST_FACTS},
            "most_tokens": room.most_tokens,
            "journal": self.journal.lengths() if self.ranks.is_main else {},
        }
        try:
            commit_together(
                self.ranks,
                self.place.folder / CHECKPOINTS,
                TrainState(step=step, tensors=tensors, facts=facts),
                run_id=self.place.run_id,
                fence=self.place.fence,
                keep=self.keep,
                identity=self.place.identity,
            )
            self.last_saved = step
        except CheckpointError as error:
            self.place.say(f"no checkpoint at update {step}: {error}")

    def resume(self, optimizer: MasterAdamW, guard: Guard, best: Best, room: Room) -> int:
        """Puts the newest usable checkpoint into place and gives its step; 0 where nothing is to be resumed.

        Raises:
            CheckpointError: there is none, or it belongs to other settings, data or another base model.
        """
        if not self.place.resume:
            return 0
        found = find_together(
            self.ranks, self.place.folder / CHECKPOINTS, run_id=self.place.run_id, identity=self.place.identity
        )
        for line in found.skipped if found is not None else ():
            self.place.say(line)
        if found is None:
            if self.ranks.is_main:
                self.journal.cut_back(dict.fromkeys(self.journal.lengths(), 0))
            return 0
        state = restore(found.path)
        with torch.no_grad():
            for name, parameter in optimizer.trainable.items():
                parameter.copy_(state.tensors[f"weights/{name}"])
        optimizer.load_state(_below("optimizer/", state.tensors))
        _load_facts(state, guard, best, room)
        best.weights = {name: value.clone() for name, value in _below("best/", state.tensors).items()}
        if self.ranks.is_main:
            self.journal.cut_back({name: int(length) for name, length in state.facts["journal"].items()})
        self.last_saved = state.step
        self.ranks.barrier()
        return state.step

    def what_is_left(self) -> str:
        """What an interrupted run leaves behind, and how to go on."""
        if self.last_saved is None:
            return f"no checkpoint was left; start again with {self.place.resume_with}"
        return f"the checkpoint of update {self.last_saved} is safe; go on with: {self.place.resume_with}"


def _below(beginning: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(beginning): value for name, value in tensors.items() if name.startswith(beginning)}


def _load_facts(state: TrainState, guard: Guard, best: Best, room: Room) -> None:
    kept = state.facts["guard"]
    guard.losses, guard.norms = list(kept["losses"]), list(kept["norms"])
    guard.skipped_in_a_row = int(kept["skipped_in_a_row"])
    for name in BEST_FACTS:
        setattr(best, name, state.facts["best"][name])
    room.most_tokens = state.facts["most_tokens"]
