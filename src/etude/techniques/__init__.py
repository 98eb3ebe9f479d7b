"""Which weights learn: one file per technique."""

TECHNIQUES = {
    "full": "etude.techniques.full:Full",
    "freeze": "etude.techniques.freeze:Freeze",
    "lora": "etude.techniques.lora:LoRA",
    "qlora": "etude.techniques.qlora:QLoRA",
    "adapter": "etude.techniques.adapter:Adapter",
    "prompt": "etude.techniques.prompt:PromptTuning",
    "p-tuning": "etude.techniques.p_tuning:PTuning",
    "prefix": "etude.techniques.prefix:PrefixTuning",
    "ia3": "etude.techniques.ia3:IA3",
    "sparse": "etude.techniques.sparse:Sparse",
    "peft": "etude.techniques.peft:PeftMethod",
}
PEFT_TYPES = {
    "LORA": "etude.techniques.lora:LoRA",
    "IA3": "etude.techniques.ia3:IA3",
    "PROMPT_TUNING": "etude.techniques.prompt:PromptTuning",
    "P_TUNING": "etude.techniques.prompt:PromptTuning",
    "PREFIX_TUNING": "etude.techniques.prefix:PrefixTuning",
}
"""What reads each of PEFT's kinds of adapter; the library itself reads the others."""
