"""What a model that is adapted to a repository must not learn, and what looks like it and is ordinary code."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from dlsp.context.exclude import holds_private_key
from engine.train import adapt_secrets, filters
from engine.train.adapt_files import gather
from engine.train.adapt_secrets import holds_secret
from engine.train.languages import language_of

RANDOM = random.Random(7)
MIXED = "".join(RANDOM.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghkmnpqrstuvwxyz23456789", k=40))
HEX = "".join(RANDOM.choices("0123456789abcdef", k=64))
BODY = "def add(value, other):\n    return value.add(other)\n\n\n" * 9
KEYS = [
    'String key = "-----BEGIN PRIVATE' + ' KEY-----\\n" +\n    "MIIEvQIBADANBgkqhkiG9w0BAQEF\\n";\n',
    "-----BEGIN RSA PRIVATE" + " KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,3F17F5316E2BAC89\n\n" + MIXED + "\n",
    "-----BEGIN PGP PRIVATE" + " KEY BLOCK-----\nVersion: GnuPG v2\n\n" + MIXED + "\n",
    "PuTTY-User-Key" + "-File-2: ssh-rsa\n",
]


def is_dropped(text: str) -> bool:
    """By either rule: what the corpus drops is dropped here too."""
    language = language_of("a.py")
    assert language is not None
    return holds_secret(BODY + text) or filters.refuse_text(BODY + text, language) is not None


@pytest.mark.parametrize("text", KEYS)
def test_private_keys_are_found_as_prompts_find_them(text: str) -> None:
    assert holds_secret(text)
    assert holds_private_key([text])


def test_what_a_private_key_looks_like_is_said_once_more_where_prompts_are_made() -> None:
    from dlsp.context import exclude

    assert exclude._PRIVATE_KEY.pattern == adapt_secrets.PRIVATE_KEY.pattern


@pytest.mark.parametrize(
    "text",
    [
        f"openai: sk-proj-{MIXED}\n",
        f"export ANTHROPIC=sk-ant-api03-{MIXED}\n",
        "id: ASIA" + "ABCDEFGHIJKLMNOP\n",
        f"aws_secret_access_key = {MIXED}\n",
        f"export API_TOKEN={MIXED}\n",
        f"  secretKey: {MIXED}  # of the service\n",
        f"Authorization: Bearer {MIXED}\n",
        "stripe = rk" + f"_live_{MIXED}\n",
        f'SECRET_KEY = "{HEX}"\n',
        f'SECRET_KEY: str = "{HEX}"\n',
        f"app.config['SECRET_KEY'] = b'{HEX}'\n",
        f"key = bytes(1)\ntoken_secret = bytes.fromhex('{HEX}')\n",
        f'{{"apiKey": "{HEX[:32]}"}}\n',
    ],
)
def test_tokens_and_values_of_credentials_are_found(text: str) -> None:
    assert is_dropped(text)


@pytest.mark.parametrize(
    "text",
    [
        f'CHECKSUM = "{HEX}"\n',
        f"commit = '{HEX[:40]}'\n",
        f"token_sha256 = '{HEX}'\n",
        f"SECRET_KEY = '{'0' * 64}'\n",
        f"  tokenizers==0.20 --hash=sha256:{HEX}\n",
        f'author = "someone"\nrevision = "{HEX[:40]}"\n',
        "token = read_Token2_from_the_Environment_variable(name)\n",
        "auth = Services.OAuth2Providers_Registry_Of_The_Application.get\n",
        "access_key: the_name_of_a_setting_that_is_long_but_a_name\n",
        "class='sk-container-of-an-estimator-with-a-long-name'\n",
    ],
)
def test_digests_and_names_are_ordinary_code(text: str) -> None:
    assert not is_dropped(text)


def test_a_repository_is_learned_without_the_files_that_hold_keys(tmp_path: Path) -> None:
    for number in range(30):
        body = "".join(f"def function_{number}_{i}(argument):\n    return argument.part_{number} + {i}\n\n\n" for i in range(40))
        (tmp_path / f"module_{number}.py").write_text(body)
    for number, text in enumerate(KEYS):
        (tmp_path / f"Key{number}.java").write_text(f"class Key{number} {{\n{text * 3}}}\n" + "// nothing else\n" * 20)
    sources = gather(tmp_path, sorted(path.name for path in tmp_path.iterdir()))
    assert sources.dropped == {"secret": len(KEYS)}
    assert not any("PRIVATE" in file.text for file in (*sources.training, *sources.held_out))
