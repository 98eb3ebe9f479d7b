"""The whole circle: from a run file to a run that is measured against its base, and back to it by name."""
