"""Measurements behind the published figures; `python -m bench` lists them."""
