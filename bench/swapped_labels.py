"""How well swapped preference labels are seen: shares of swapped labels against what the check says of them.

Pairs of hh_rlhf_harmless are split by prompt; the trusted ones are outside pairs, or pairs of the data judged again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace

from bench.reward_model import DATA
from etude.batch import Sample, TokenRow
from etude.data.read import read
from etude.data.render import Renderer
from etude.data.swapped import LabelCheck, check_labels
from etude.models.load import load_tokenizer
from etude.records import Preference

SHARES = (0.0, 0.05, 0.2, 1.0)
SEEDS = range(3)
TRUSTED = 400


def main() -> None:
    renderer = Renderer(load_tokenizer("smollm2-135m-instruct"))
    groups: dict[str, list[Sample]] = {}
    for record in read(str(DATA), (Preference,)):
        assert isinstance(record, Preference)
        rows = tuple(TokenRow(row.tokens, row.weights) for row in renderer.rows(record))
        groups.setdefault(record.prompt[0].text, []).append(Sample("", rows))
    names = sorted(groups)
    random.Random(0).shuffle(names)
    kept: list[Sample] = []
    outside: list[Sample] = []
    for name in names:
        (outside if len(outside) < TRUSTED else kept).extend(groups[name])
    print(f"{len(kept)} pairs, {len(outside)} trusted ones outside; mean of {len(SEEDS)} draws of the swaps")
    print("| swapped | no trusted pairs: at most | 400 outside pairs | refused | 200 judged again | refused |")
    print("|---|---|---|---|---|---|")
    started = time.monotonic()
    for share in SHARES:
        cells = [_found(kept, outside, share, seed) for seed in SEEDS]
        there, again = (list(column) for column in zip(*cells, strict=True))
        bound = sum(one.most_swapped for one in there) / len(there)
        print(f"| {share:.0%} | {bound:.0%} | {_told(there)} | {_told(again)} |")
    print(f"{(time.monotonic() - started) / len(SHARES) / len(SEEDS) / 2:.1f} s a check")


def _found(kept: Sequence[Sample], outside: Sequence[Sample], share: float, seed: int) -> list[LabelCheck]:
    chance = random.Random(seed)
    wrong = set(chance.sample(range(len(kept)), round(share * len(kept))))
    noisy = [replace(one, rows=one.rows[::-1]) if at in wrong else one for at, one in enumerate(kept)]
    trusted = (outside, chance.sample(list(kept), 200))
    found = [check_labels(noisy, one) for one in trusted]
    return [one for one in found if one is not None]


def _told(found: Sequence[LabelCheck]) -> str:
    known = [one.swapped for one in found if one.swapped is not None]
    if not known:
        return "not known | 0"
    share, low, high = (sum(getattr(one, name) for one in known) / len(known) for name in ("share", "low", "high"))
    unknown = f", {len(found) - len(known)} not known" if len(known) < len(found) else ""
    return f"{share:.0%} ({low:.0%} to {high:.0%}{unknown}) | {sum(one.refused for one in found)} of {len(found)}"


if __name__ == "__main__":
    main()
