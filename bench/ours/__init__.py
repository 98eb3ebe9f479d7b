"""Etude's side of each pair, and the rows that both sides are given."""
