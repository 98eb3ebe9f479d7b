"""The same request in other words, by rules that keep its meaning: politeness, contractions, common turns of phrase."""

from __future__ import annotations

import re
from random import Random

from etude.data.redaction.gazetteer import is_word

TURNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"\b[Hh]ow (?:do|can) I\b", ("How would I", "What is the way to", "What do I have to do to")),
    (r"\b[Cc]an you\b", ("Could you", "Would you", "Are you able to")),
    (r"\b[Cc]ould you\b", ("Can you", "Would you")),
    (r"\bI want to\b", ("I would like to", "I'd like to", "I wish to")),
    (r"\bI need to\b", ("I have to", "I must")),
    (r"\bI would like to\b", ("I want to", "I'd like to")),
    (r"\b[Pp]lease tell me\b", ("Please let me know", "I would like to know")),
    (r"\b[Tt]ell me\b", ("Let me know", "Say")),
    (r"\b[Ww]hy (?:is|was)\b", ("What is the reason that", "How come")),
    (r"\b[Ii]s there a way to\b", ("Is it possible to", "Can one")),
    (r"\b[Ii]s it possible to\b", ("Is there a way to", "Can one")),
    (r"\bdoesn't work\b", ("does not work", "isn't working", "fails")),
    (r"\b[Hh]elp me\b", ("Assist me", "Give me a hand")),
    (r"\bas soon as possible\b", ("quickly", "at your earliest convenience")),
    (r"\b[Ff]ind\b", ("Look up", "Search for")),
    (r"\b[Ss]how me\b", ("Let me see", "Display")),
)  # fmt: skip
CONTRACTED = (
    ("I'm", "I am"), ("I've", "I have"), ("I'd like", "I would like"), ("don't", "do not"), ("can't", "cannot"),
    ("didn't", "did not"), ("isn't", "is not"), ("it's", "it is"), ("what's", "what is"), ("haven't", "have not"),
    ("won't", "will not"), ("wasn't", "was not"), ("doesn't", "does not"),
)  # fmt: skip
OPENINGS = ("Hi, ", "Hello, ", "Hello! ", "Good morning, ", "Hey, ")
CLOSINGS = (" Thanks.", " Thank you!", " Thanks in advance.")
OPENED = re.compile(r"(?:hi|hello|hey|good|dear|thanks|please)\b", re.IGNORECASE)


def paraphrased(text: str, dice: Random) -> str:
    """The text in other words, or as it is where no rule fits."""
    made = _turned(text, dice)
    if dice.random() < 0.5 or made == text:
        made = _contracted(made, dice)
    if made == text or dice.random() < 0.3:
        made = _dressed(made, dice)
    return made


def _turned(text: str, dice: Random) -> str:
    fitting = [(pattern, others) for pattern, others in TURNS if re.search(pattern, text)]
    if not fitting:
        return text
    pattern, others = dice.choice(fitting)
    other = dice.choice(others)

    def instead(match: re.Match[str]) -> str:
        return other if match[0][0].isupper() or other.startswith("I") else other[0].lower() + other[1:]

    return re.sub(pattern, instead, text, count=1)


def _contracted(text: str, dice: Random) -> str:
    fitting = [
        pair
        for short, long in CONTRACTED
        for pair in ((short, long), (long, short))
        if re.search(rf"\b{pair[0]}\b", text)
    ]
    if not fitting:
        return text
    before, after = dice.choice(fitting)
    return re.sub(rf"\b{before}\b", after, text)


def _dressed(text: str, dice: Random) -> str:
    """With a greeting or thanks."""
    if "\n" in text or OPENED.match(text):
        return text
    if dice.random() < 0.5:
        ended = text if text[-1:] in ".!?" else f"{text}."
        return ended + dice.choice(CLOSINGS)
    first, _, rest = text.partition(" ")
    lowered = first.lower() if first.istitle() and first != "I" and is_word(first.lower()) else first
    return dice.choice(OPENINGS) + " ".join((lowered, rest)).strip()
