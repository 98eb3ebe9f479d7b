"""Writes docs/run-file.md from the docstrings of the settings: `make docs`."""

from __future__ import annotations

from pathlib import Path

from etude.config.reference import markdown

PAGE = Path(__file__).with_name("run-file.md")
INTRODUCTION = """\
# The run file

<!-- Made by docs/generate_run_file.py from the settings themselves; change them there. -->

A run file is YAML. It names what differs from the defaults; only `model` and `data.train` must be given.

```yaml
model: smollm2-135m-instruct
data: {train: tickets.jsonl, holdout: 0.1, max_tokens: 1024}
technique: {kind: lora, rank: 16, alpha: 32}
objective: {kind: sft}
training: {epochs: 2, learning_rate: 1e-3, batch_rows: 32, seed: 0}
evaluation: {tasks: [tickets.task.yaml]}
output: runs/tickets
```

- `etude check FILE` reports everything that is wrong with it at once; `--resolved` prints every default too.
- Any setting can be changed for one run: `etude train FILE training.epochs=3 technique.rank=8`.
- Paths are relative to the run file's folder, `output` to the current one.
- A word stands for a section with one setting: `model: NAME` is `model: {name: NAME}`, `technique: full` is
  `technique: {kind: full}`.
- Values are those of YAML 1.2: `1e-3` is a number, `no` is text. A setting given twice is an error.

"""


def page() -> str:
    """The whole page, introduction and reference."""
    return f"{INTRODUCTION}{markdown().rstrip()}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
