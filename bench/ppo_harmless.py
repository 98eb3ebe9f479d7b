"""PPO against the reward model of `reward-model`, three seeds (about an hour and a half after it).

Prompts are first questions of the pairs; a tenth of them is held out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from bench.pairs import BUILD, OFFLINE

JUDGE = BUILD / "reward-model"
SEEDS = (0, 1, 2)
PROMPTS = 640
RUN_FILE = """
model: smollm2-135m-instruct
data: {{train: prompts.jsonl, holdout: 0.1, max_tokens: 128, over_length: drop}}
technique: {{kind: lora, rank: 16}}
objective: {{kind: ppo, decay: 1.0, kl: 0.02}}
rollouts:
  group: 2
  max_new_tokens: 32
  rewards: [{{kind: model, run: {judge}}}]
training: {{steps: 16, batch_rows: 32, learning_rate: 5e-4, schedule: constant, heldout_every: 16, save_every: 8}}
evaluation: {{retention: [], drift_rows: 0}}
"""


def main() -> None:
    """Trains with each seed, and prints the held-out rewards before and after with the distance gone."""
    folder = BUILD / "ppo-harmless"
    folder.mkdir(parents=True, exist_ok=True)
    if not (JUDGE / "run" / "adapter").is_dir():
        sys.exit("first: python -m bench reward-model")
    pairs = (JUDGE / "train.jsonl").read_text(encoding="utf-8").splitlines()
    firsts = [json.loads(pair)["chosen"].split("\n\nAssistant:")[0].removeprefix("\n\nHuman: ") for pair in pairs]
    rows = [json.dumps({"prompt": first}, ensure_ascii=False) for first in list(dict.fromkeys(firsts))[:PROMPTS]]
    (folder / "prompts.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    (folder / "ppo.yaml").write_text(RUN_FILE.format(judge=JUDGE / "run"), encoding="utf-8")
    etude = Path(sys.executable).with_name("etude")
    for seed in (int(one) for one in os.environ.get("PPO_SEEDS", ",".join(map(str, SEEDS))).split(",")):
        run = folder / f"seed-{seed}"
        command = [str(etude), "train", str(folder / "ppo.yaml"), f"output={run}", f"training.seed={seed}"]
        resumed = ["--resume"] if run.exists() else []
        subprocess.run(command + resumed, check=True, env={**os.environ, **OFFLINE})
        print(json.dumps(_told(run)))


def _told(run: Path) -> dict[str, object]:
    """Held-out reward before and after, how often the tuned answer got more, and the last updates' distance."""
    verdict = json.loads((run / "verdict.json").read_text(encoding="utf-8"))["verdicts"][0]
    with (run / "reports" / "reward.jsonl").open(encoding="utf-8") as report:
        header = json.loads(next(report))["report"]
    updates = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    distances = [update["kl_now"] for update in updates if "kl_now" in update]
    told = {name: verdict[name] for name in ("base", "tuned", "difference", "low", "high", "answer", "n")}
    return {
        **told,
        "win_rate": header["summary"]["win_rate"],
        "win_rate_interval": header["intervals"]["win_rate"],
        "nats_a_token": sum(distances[-5:]) / len(distances[-5:]),
    }
