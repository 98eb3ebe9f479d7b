"""From a raw file to records, token rows and batches."""

STEPS: dict[str, str] = {
    "clean": "etude.data.clean:Clean",
    "decontaminate": "etude.data.decontaminate:Decontaminate",
    "mix": "etude.data.mix:Mix",
    "redact": "etude.data.redact:Redact",
    "augment": "etude.data.augment:Augment",
}
"""What can be done to files of rows (etude.data.work says how a step is made), as `data.steps` names it."""
