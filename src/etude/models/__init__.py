"""Base models: loading, tree attention, scoring."""
