"""Peak memory of full fine-tuning, LoRA and QLoRA where weights and optimizer are most of it: 753 million weights.

The weights are random: memory does not depend on what they say.
"""

from __future__ import annotations

from pathlib import Path

from bench.pairs import BUILD
from bench.planned import MODEL, Trial, peaks_of

FOLDER = BUILD / "large-memory"
SIZES = {
    "hidden_size": 1792,
    "intermediate_size": 5376,
    "num_hidden_layers": 18,
    "num_attention_heads": 28,
    "num_key_value_heads": 7,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
TECHNIQUES = ("full", "lora", "qlora")


def main() -> None:
    """A line a technique: one row of 64 tokens, three updates, bfloat16 weights (full: float32 masters)."""
    model = FOLDER / "model"
    if not (model / "config.json").exists():
        _write_model(model)
    print("| technique | measured GB | of full fine-tuning's | predicted GB | error |\n|---|---|---|---|---|")
    full = None
    for technique in TECHNIQUES:
        trial = Trial(technique, 64, 1, model=str(model), precision="bfloat16")
        measured, predicted = (found["peak"] for found in peaks_of(trial))
        full = full or measured
        error = f"{predicted / measured - 1:+.1%}"
        print(f"| {technique} | {measured:.2f} | {measured / full:.3f} | {predicted:.2f} | {error} |", flush=True)


def _write_model(folder: Path) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    import etude

    tokenizer = etude.load(MODEL).tokenizer
    torch.manual_seed(0)
    module = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), dtype="bfloat16", **SIZES)).to(torch.bfloat16)
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
