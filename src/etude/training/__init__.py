"""The one training loop, its optimizer, checkpoints, ranks and hooks."""
