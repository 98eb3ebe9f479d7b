"""Whether to prompt, to retrieve or to fine-tune: measured arms become a recommendation."""
