"""Layers that stand in place of a base model's own, each with something learned beside it."""
