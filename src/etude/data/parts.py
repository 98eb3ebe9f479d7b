"""What rows are divided among."""

PARTS = ("train", "validation", "test")
