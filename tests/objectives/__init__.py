"""Objectives by themselves: closed forms, splits."""
