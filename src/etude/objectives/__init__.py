"""What is learned: one file per objective, a function of (batch, scores)."""

OBJECTIVES = {
    "sft": "etude.objectives.sft:SFT",
    "dpo": "etude.objectives.dpo:DPO",
    "orpo": "etude.objectives.orpo:ORPO",
    "simpo": "etude.objectives.simpo:SimPO",
    "cpo": "etude.objectives.cpo:CPO",
    "kto": "etude.objectives.kto:KTO",
    "reward": "etude.objectives.reward:Reward",
    "grpo": "etude.objectives.grpo:GRPO",
    "ppo": "etude.objectives.ppo:PPO",
    "distill": "etude.objectives.distill:Distill",
}
