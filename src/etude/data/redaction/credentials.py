"""API keys, tokens, passwords and private keys: by the issuers' own prefixes, or as a value given to a telling name."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from etude.data.redaction.gazetteer import is_word
from etude.data.redaction.spans import Place, matches

ISSUED = re.compile(
    r"\b(?:"
    r"(?:AKIA|ASIA|AROA|AIDA|AGPA|ANPA)[A-Z0-9]{16}"
    r"|gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255}|glpat-[\w-]{20,}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-\d-[A-Za-z0-9-]{10,}"
    r"|sk-(?:[a-z]+-)*[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{30,}|[srp]k_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|whsec_[A-Za-z0-9]{24,}"
    r"|AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,}"
    r"|npm_[A-Za-z0-9]{36}|pypi-AgE[\w-]{50,}|SG\.[\w-]{16,}\.[\w-]{16,}|SK[0-9a-f]{32}|key-[0-9a-f]{32}"
    r"|\d{8,10}:AA[\w-]{33}|dop_v1_[0-9a-f]{64}|shp(?:at|ss|ca|pa)_[0-9a-fA-F]{32}|lin_api_[A-Za-z0-9]{40}"
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*"
    r")(?![\w])"
)
"""AWS, GitHub, GitLab, Slack, OpenAI and Anthropic, Hugging Face, Stripe, Google, npm, PyPI, SendGrid, Twilio, Mailgun,
Telegram, DigitalOcean, Shopify, Linear, and JSON web tokens."""
PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
WEBHOOK = re.compile(
    r"hooks\.slack\.com/services/(?P<value>T\w+/B\w+/\w+)|discord(?:app)?\.com/api/webhooks/(?P<other>\d+/[\w-]+)"
)
HEADER = re.compile(r"\b(?:Bearer|Basic)[ :]+(?P<value>[A-Za-z0-9+/._~=-]{16,})")
QUERY = re.compile(
    r"[?&](?:[\w-]*(?:token|key|secret|password|passwd|sig|signature))=(?P<value>[^&\s\"'<>#]{6,})", re.IGNORECASE
)
ASSIGNED = re.compile(
    r"(?P<query>[?&][\w-]*)?(?P<name>pass(?:word|wd|phrase|code)?|pwd|pin(?: code)?|secret|token|credentials?"
    r"|(?:api|access|auth|secret|private|encryption|signing)[ _-]?key)"
    r"\w*[\"'\]]{0,2}(?: ?(?:=>|:=|==?|:) ?|,? (?:is|was|to|as):? )(?P<quote>[\"'`]?)(?P<value>[^\s\"'`,;<>]{4,256})",
    re.IGNORECASE,
)
CODE = re.compile(
    r"[(){}\[\]$%]|\.\w+\.|^(?:self|os|env|config|settings|process)\b|^\*+$|^x+$|\[[A-Z_]+\]", re.IGNORECASE
)
BITS = 3.0
"""A key's characters carry at least so many bits each; words and paths carry fewer."""
SHORTEST_KEY = 16


def secrets(text: str) -> Iterator[Place]:
    """Keys of known issuers, private keys, web hooks, authorisation headers, and values assigned to telling names."""
    yield from matches(ISSUED, text)
    if "PRIVATE KEY" in text:
        yield from matches(PRIVATE_KEY, text)
    for match in WEBHOOK.finditer(text):
        yield match.span("value" if match["value"] else "other")
    for match in HEADER.finditer(text):
        if not match["value"].isalpha():
            yield match.span("value")
    yield from matches(QUERY, text, "value")
    yield from _assigned(text)


def _assigned(text: str) -> Iterator[Place]:
    for match in ASSIGNED.finditer(text):
        value = match["value"].rstrip(".)]!?") if not match["quote"] else match["value"]
        if not match["query"] and _is_secret(match["name"].lower(), value):
            yield match.start("value"), match.start("value") + len(value)


def _is_secret(name: str, value: str) -> bool:
    if len(value) < 4 or CODE.search(value) or is_word(value.lower()):
        return False
    mixed = not value.isalpha()
    if name.startswith(("pass", "pwd", "pin", "secret", "credential")):
        return mixed
    return mixed and len(value) >= SHORTEST_KEY and entropy(value) >= BITS


def entropy(text: str) -> float:
    """Bits a character, by how often each character occurs in the text itself."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())
