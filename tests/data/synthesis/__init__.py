"""The parts of a synthesis."""
