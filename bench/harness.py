"""lm-evaluation-harness's tasks asked by Etude, by the harness's own Hugging Face backend, and by plain `generate`.

Each side answers the same items in a process of its own, the sides by turns: multiple choice (capability_mc, five
examples before each item), and written answers (gsm8k questions, eight at once). `--items` of each.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

DATA = Path(os.environ.get("ETUDE_DATA", Path(__file__).parents[2] / "shared" / "data"))
MODEL = "smollm2-135m-instruct"
SHOTS, NEW_TOKENS, BATCH_ROWS = 5, 64, 8
CHOICES, ANSWERS = "bench_choices", "bench_answers"
TASKS = {
    CHOICES: """output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
fewshot_split: test
fewshot_config: {sampler: first_n}
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    ANSWERS: f"""output_type: generate_until
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["Question:"], max_gen_toks: {NEW_TOKENS}, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
""",
}
SOURCES = {CHOICES: "capability_mc/mc.jsonl", ANSWERS: "gsm8k/test.jsonl"}
Side = Callable[[Path, int], tuple[dict[str, float], dict[str, list[object]]]]
"""From the folder of the tasks and the number of items: seconds and answers of each task."""


def main() -> None:
    """Prints seconds of each side with their spread, the ratios, and how far answers agree."""
    parser = argparse.ArgumentParser(prog="python -m bench.harness")
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--folder", type=Path)
    given, _ = parser.parse_known_args(sys.argv[1:] if sys.argv[1:2] != ["harness"] else sys.argv[2:])
    if given.side:
        seconds, answers = SIDES[given.side](given.folder, given.items)
        print(json.dumps([seconds, answers]))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_tasks(Path(folder), given.items)
        found: dict[str, list[tuple[dict[str, float], dict[str, list[object]]]]] = {side: [] for side in SIDES}
        for _ in range(given.pairs):
            for side in SIDES:
                found[side].append(_measured(side, folder, given.items))
    print(
        f"| {given.items} items, {given.pairs} runs by turns | seconds (lowest to highest) | to ours | same answers |"
    )
    print("|---|---|---|---|")
    for task in TASKS:
        mine = [seconds[task] for seconds, _ in found["etude"]]
        for side, runs in found.items():
            times = [seconds[task] for seconds, _ in runs if task in seconds]
            if times:
                same = _same(found["etude"][0][1][task], runs[0][1][task])
                ratio = statistics.median(times) / statistics.median(mine)
                spread = f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})"
                print(f"| {task.removeprefix('bench_')}: {side} | {spread} | {ratio:.2f}× | {same} |")


def write_tasks(folder: Path, items: int) -> None:
    """The tasks' files, with so many rows of each."""
    for name, text in TASKS.items():
        lines = (DATA / SOURCES[name]).read_text(encoding="utf-8").splitlines()[: items + SHOTS]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        place = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {folder / name}.jsonl}}}}\n"
        (folder / f"{name}.yaml").write_text(f"task: {name}\ntest_split: test\n{place}{text}", encoding="utf-8")


def _measured(side: str, folder: str, items: int) -> tuple[dict[str, float], dict[str, list[object]]]:
    command = [sys.executable, "-m", "bench.harness", "--side", side, "--folder", folder, "--items", str(items)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, answers = json.loads(done.stdout.splitlines()[-1])
    return seconds, answers


def _same(ours: Sequence[object], theirs: Sequence[object]) -> str:
    return f"{sum(a == b for a, b in zip(ours, theirs, strict=True))} of {len(ours)}"


def etude(folder: Path, items: int) -> tuple[dict[str, float], dict[str, list[object]]]:
    """Through `etude evaluate --harness`, as a library; imports are before the clock, as on the other sides."""
    import datasets  # noqa: F401
    from lm_eval.tasks import TaskManager  # noqa: F401

    from etude.evaluation.lm_harness import HarnessOptions, harness_reports
    from etude.models.load import load
    from etude.models.options import ModelOptions

    model = load(ModelOptions(name=MODEL))
    seconds, answers = {}, {}
    for task in TASKS:
        shots = SHOTS if task == CHOICES else 0
        options = HarnessOptions(tasks=(task,), folder=str(folder), shots=shots, limit=items, batch_rows=BATCH_ROWS)
        began = time.perf_counter()
        (report,) = harness_reports(model, options)
        seconds[task] = time.perf_counter() - began
        answers[task] = [item.scores["acc"] if task == CHOICES else item.answer for item in report.items]
    return seconds, answers


def huggingface(folder: Path, items: int) -> tuple[dict[str, float], dict[str, list[object]]]:
    """The harness's own backend on the same weights, number type and batch."""
    from lm_eval import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    module, tokenizer = _plain_model()
    model = HFLM(pretrained=module, tokenizer=tokenizer, batch_size=BATCH_ROWS, device="cpu")
    seconds, answers = {}, {}
    for task in TASKS:
        began = time.perf_counter()
        loaded = TaskManager(include_path=str(folder), include_defaults=False).load([task])
        for one in loaded["tasks"].values():
            one.set_config(key="num_fewshot", value=SHOTS if task == CHOICES else 0)
            one.set_fewshot_seed(seed=1234)
        found = evaluate(model, loaded, limit=items, bootstrap_iters=0)
        assert found is not None
        seconds[task] = time.perf_counter() - began
        samples = sorted(found["samples"][task], key=lambda one: one["doc_id"])
        answers[task] = [float(one["acc"]) if task == CHOICES else one["filtered_resps"][0] for one in samples]
    return seconds, answers


def generate(folder: Path, items: int) -> tuple[dict[str, float], dict[str, list[object]]]:
    """transformers' `generate` on the same prompts, without the harness around it; written answers only."""
    import torch

    module, tokenizer = _plain_model()
    tokenizer.padding_side = "left"
    rows = [json.loads(line) for line in (folder / f"{ANSWERS}.jsonl").read_text(encoding="utf-8").splitlines()]
    prompts = [f"Question: {row['question']}\nAnswer:" for row in rows[:items]]
    began, texts = time.perf_counter(), []
    for start in range(0, len(prompts), BATCH_ROWS):
        batch = tokenizer(prompts[start : start + BATCH_ROWS], return_tensors="pt", padding=True)
        with torch.inference_mode():
            whole = module.generate(**batch, do_sample=False, max_new_tokens=NEW_TOKENS, tokenizer=tokenizer,
                                    stop_strings=["Question:"], pad_token_id=tokenizer.pad_token_id)  # fmt: skip
        texts += tokenizer.batch_decode(whole[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return {ANSWERS: time.perf_counter() - began}, {ANSWERS: [text.split("Question:")[0] for text in texts]}


def _plain_model() -> tuple[object, object]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from etude.models.load import DTYPES, load, precision_name
    from etude.models.options import ModelOptions

    folder = load(ModelOptions(name=MODEL)).folder
    torch.manual_seed(0)
    dtype = DTYPES[precision_name(ModelOptions(name=MODEL).precision)]
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval(), AutoTokenizer.from_pretrained(folder)


SIDES: dict[str, Side] = {"etude": etude, "harness, Hugging Face backend": huggingface, "generate": generate}

if __name__ == "__main__":
    main()
