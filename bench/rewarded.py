"""What both sides of the iteration of PPO are told: how many answers, how long, and what they are worth."""

GROUP = 4
"""Answers to each prompt."""
MAX_NEW_TOKENS = 64


def reward(text: str) -> float:
    """The share of vowels: it costs nothing, and differs between answers."""
    return sum(letter in "aeiou" for letter in text.lower()) / max(1, len(text))
