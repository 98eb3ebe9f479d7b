"""Which weights learn: one file per technique."""

TECHNIQUES = {"full": "etude.techniques.full:Full", "lora": "etude.techniques.lora:LoRA"}
