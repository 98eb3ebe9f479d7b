"""What is learned: one file per objective, a function of (batch, scores)."""

OBJECTIVES = {"sft": "etude.objectives.sft:SFT"}
