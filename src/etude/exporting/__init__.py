"""Trained models as other tools take them, each proven to answer as the trained one does."""
