"""Keys, tokens and passwords, and what only looks like them. The keys are made up and put together here."""

from __future__ import annotations

import pytest

from etude.data.redaction.credentials import secrets

ISSUED = {
    "aws": "AKIA" + "IOSFODNN7EXAMPLE",
    "github": "ghp_" + "a1B2" * 9,
    "gitlab": "glpat-" + "x1Y2z3W4v5U6t7S8r9Q0",
    "slack": "xoxb-" + "123456789012-abcdefGHIJ",
    "openai": "sk-proj-" + "Ab3dEf6hIj9kLmN0pQr3",
    "huggingface": "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz123456",
    "stripe": "sk_live_" + "51H8sdkfjhskdfjh",
    "google": "AIza" + "B" * 35,
    "jwt": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0In0." + "c2lnbmF0dXJl",
}


@pytest.mark.parametrize("key", ISSUED.values(), ids=ISSUED)
def test_keys_of_known_issuers(key):
    text = f"use {key}, please"
    assert [text[start:stop] for start, stop in secrets(text)] == [key]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("password: hunter2!x", "hunter2!x"),
        ('"password": "correct-horse-9"', "correct-horse-9"),
        ("My password is Sunny4Day.", "Sunny4Day"),
        ("DB_PASSWORD=s3cr3tPass", "s3cr3tPass"),
        ("api_key = 'f81d4fae7dec11d0a76500a0c91e6bf6'", "f81d4fae7dec11d0a76500a0c91e6bf6"),
        ("Authorization: Bearer abcdef0123456789XYZ", "abcdef0123456789XYZ"),
        ("https://x.example/cb?access_token=Zx81kd92jfKq0P&x=1", "Zx81kd92jfKq0P"),
        ("password: required", None),
        ("I forgot my password.", None),
        ("token = get_token()", None),
        ("api_key = os.environ['KEY']", None),
        ("password = ${DB_PASSWORD}", None),
        ("the token is a word", None),
        ("secret: ********", None),
        ("primary key: user_identifier", None),
        ("Basic understanding of algebra", None),
    ],
)
def test_values_given_to_telling_names(text, secret):
    assert [text[start:stop] for start, stop in secrets(text)] == ([secret] if secret else [])


def test_private_keys_whole():
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----"
    text = f"here:\n{key}\nthanks"
    assert [text[start:stop] for start, stop in secrets(text)] == [key]
    public = "-----BEGIN PUBLIC KEY-----\nMIIEow\n-----END PUBLIC KEY-----"
    assert list(secrets(public)) == []
