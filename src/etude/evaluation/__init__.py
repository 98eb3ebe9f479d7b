"""Tasks, metrics and per-item reports."""
