"""Does `etude iterate` find what was taken away? BANKING77 with some classes cut to two rows, the rest as a pool.

Twenty classes, forty rows each, but two rows of each of four classes; everything else of the training file is the pool.
Three retrainings at most, 100 rows each. What was lost is the accuracy of a run on forty rows of every class minus that
of the weakened run; both, and every iteration, are measured on the half of the queries that steers nothing.

With ETUDE_BENCH_MODEL=tiny the model is one of two layers that knows nothing before its rows (minutes on a busy core);
otherwise it is SmolLM2-135M-Instruct with LoRA (half an hour on a free one).
"""

from __future__ import annotations

import csv
import os
import random
from pathlib import Path

from etude.config import load_run_file
from etude.cycle.fine_tune import fine_tune
from etude.cycle.halves import halves_of
from etude.cycle.iterate import iterate
from etude.cycle.iteration_limits import IterateOptions
from etude.cycle.show import Show
from etude.cycle.subjects import open_subject
from etude.diagnosis.iterations import best_of
from etude.evaluation.harness import evaluate
from etude.evaluation.report import Report
from etude.evaluation.tasks import load_task
from etude.runs.directory import RunDirectory, is_run

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("ETUDE_DATA", ROOT.parent / "shared" / "data")) / "banking77"
CLASSES, ROWS, WEAK, LEFT = 20, 40, 4, 2
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
COLUMNS = '{prompt: "Classify the banking query into its intent.\\nQuery: {text}", completion: "{category}"}'
TASK = f"name: banking\ndata: test.csv\ncolumns: {COLUMNS}\nmetric: label\nmax_new_tokens: 20\n"
LORA = "{kind: lora, rank: 16, alpha: 32}\ntraining: {epochs: 3, learning_rate: 1e-3"
FULL = "full\ntraining: {steps: 400, learning_rate: 2e-3"
RUN = f"""model: MODEL
data: {{train: NAME.csv, columns: {COLUMNS}, holdout: 0.05, max_tokens: 256}}
technique: TECHNIQUE, warmup_share: 0.05, batch_rows: 16, save_every: 50, keep_best: false}}
evaluation: {{tasks: [banking.task.yaml], batch_rows: 64, base: false, retention: [], drift_rows: 0}}
output: OUTPUT
"""


def weakened(folder: Path) -> list[str]:
    """Writes the weakened rows, the whole ones, the pool, the queries and the run files; names the weak classes."""
    folder.mkdir(parents=True, exist_ok=True)
    train, test = (list(csv.DictReader((DATA / f"{name}.csv").open(encoding="utf-8"))) for name in ("train", "test"))
    draw = random.Random(0)
    classes = sorted(draw.sample(sorted({row["category"] for row in train}), CLASSES))
    weak = sorted(draw.sample(classes, WEAK))
    own = {name: draw.sample([row for row in train if row["category"] == name], ROWS) for name in classes}
    few = [row for name in classes for row in own[name][: LEFT if name in weak else ROWS]]
    held = {id(row) for row in few}
    files = {
        "few": few,
        "whole": [row for name in classes for row in own[name]],
        "pool": [row for row in train if row["category"] in own and id(row) not in held],
        "test": [row for row in test if row["category"] in own],
    }
    for name, rows in files.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["text", "category"])
            writer.writeheader()
            writer.writerows(rows)
    (folder / "banking.task.yaml").write_text(TASK, encoding="utf-8")
    tiny = os.environ.get("ETUDE_BENCH_MODEL") == "tiny"
    if tiny:
        make_tiny(folder / "tiny", [f"{row['text']} {row['category']}" for row in few])
    for name in ("few", "whole"):
        text = RUN.replace("NAME", name).replace("OUTPUT", str(folder / "runs" / name))
        text = text.replace("MODEL", "./tiny" if tiny else "smollm2-135m-instruct")
        text = text.replace("TECHNIQUE", FULL if tiny else LORA)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return weak


def make_tiny(folder: Path, texts: list[str]) -> None:
    """A llama of two layers with random weights, and a tokenizer made from the texts."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    if (folder / "config.json").exists():
        return
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1200, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=SPECIAL[0], eos_token=SPECIAL[2])
    fast.chat_template = CHATML
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=512, tie_word_embeddings=True, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).float().save_pretrained(folder)
    fast.save_pretrained(folder)


def whole_score(folder: Path, show: Show) -> Report:
    """The run on all rows, measured on the items that steer nothing."""
    run_file = load_run_file(folder / "whole.yaml")
    run = RunDirectory(Path(run_file.output))
    if not (is_run(run.path) and run.state == "finished"):
        fine_tune(run_file, resume=is_run(run.path), show=show)
    task = halves_of(load_task(folder / "banking.task.yaml"), folder / "runs", final_share=0.5, seed=0).final
    with show.progress("the run on all rows") as on_progress:
        return evaluate(open_subject(str(run.path)), task, batch_rows=64, on_progress=on_progress)


def main() -> None:
    """Prints the iterations and the share of the loss that was recovered; goes on where it was stopped."""
    from etude.cli.train import OnTerminal

    folder = Path(os.environ.get("ETUDE_BENCH_FOLDER", "build/bench/iterate"))
    weak, show = weakened(folder), OnTerminal()
    options = IterateOptions(pool=str(folder / "pool.csv"), rows=100, iterations=3)
    found = iterate(folder / "few.yaml", (), options, out=folder / "runs" / "few", show=show, accept=lambda *_: True)
    whole = whole_score(folder, show)
    print(f"weakened: {', '.join(weak)}\n")
    print("| rows learned | added for | steering | kept for the end | still worse |\n|---|---|---|---|---|")
    for one in found.records:
        added = ", ".join(f"{name} {count}" for name, count in one.added.items()) or "–"
        ends = f"{one.final_interval[0]:.1%} to {one.final_interval[1]:.1%}"
        worse = ", ".join(one.worse) or "–"
        print(f"| {one.rows} | {added} | {one.steering:.1%} | {one.final:.1%} ({ends}) | {worse} |")
    low, high = whole.intervals[whole.metric]
    print(f"| {CLASSES * ROWS} (nothing taken away) | | | {whole.score:.1%} ({low:.1%} to {high:.1%}) | |\n")
    first, best = found.records[0].final, best_of(found.records).final
    recovered = (best - first) / (whole.score - first)
    print(f"{recovered:.0%} of the loss recovered after {len(found.records) - 1} retrainings; ended: {found.ended}")
    if found.verdict is not None:
        print(found.verdict.sentence())


if __name__ == "__main__":
    main()
