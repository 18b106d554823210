"""Redaction: what looks like a secret, or says who somebody is, does not reach a trace."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

HIDDEN = "(redacted)"

_WORDS = (
    r"secret|pass[._-]?w(?:or)?d|pass[._-]?code|passphrase|\bpwd|[._-]pwd|(?<![a-z])pw(?![a-z])"
    r"|webhook|(?<![a-z])(?:hmac|pin|salt|myauth)(?![a-z])|(?<!by)pass\b|token|credential|private[._-]?key"
    r"|(?:access|account|api|auth|encryption|shared|master|storage|signing|sas|ssl|client)"
    r"[._-]?key(?:[._-]?id)?\b"
    r"|authorization|signature|jaas|cookie|session[._-]?id|keytab|principal|bearer"
)
_KEY = re.compile(
    rf"(?i){_WORDS}|\bauth\b|(?<![a-z])sas(?![a-z])|\bkey$|user(?:[._-]?name)?$|proxy-?user|login"
)
"""Names of properties whose value is hidden whole."""

_SAFE = re.compile(
    r"(?i)(?:enabled|required|timeout|interval|ttl|length|bits|algorithm|provider|type|class"
    r"|renewal[._-]?ratio|max[._-]?size|serializer|factory|impl|count|ratio|pattern|mode)$"
)
"""Names of properties that speak of secrets without being one, where the value is plain."""

_PLAIN = re.compile(r"\d+(?:\.\d+)?\s?[a-zA-Z%]{0,12}|(?:[a-zA-Z_]\w*[.$])+[A-Z]\w*|[A-Z-]{2,24}")
"""Values that such names have: numbers, durations, classes, words in capitals."""

_HARMLESS = frozenset({"", "true", "false", "none", "null"})

_INSIDE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:-----END [A-Z ]*-----|$)", re.S), HIDDEN),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w+/=.~-]{8,}"), rf"\1 {HIDDEN}"),
    # scheme://user:password@host
    (
        re.compile(r"(?i)([a-z][a-z0-9+.-]{1,30}://)[^\s/@'\"]{1,400}@(?:[^\s/@'\"]{1,200}@)?"),
        rf"\1{HIDDEN}@",
    ),
    # jdbc:oracle:thin:user/password@host
    (re.compile(r"(?i)(jdbc:oracle:\w+:)[^\s@]{1,200}@"), rf"\1{HIDDEN}@"),
    # name=value, -Dname=value, name: value, "name": "value", option("name", "value")
    (
        re.compile(
            rf"(?i)((?:(?:{_WORDS})[\w.-]{{0,200}}|\b(?:user(?:[._-]?name)?|uid|sig|key)\b)"
            r"\\{0,3}[\"']?\s{0,3}(?:=>|[=:]|%3[Dd]|,(?=\s{0,3}[\"'])|\s(?=[\"']))\s{0,3})"
            r"(\\{1,3}\"[^\"\\]*\\{1,3}\"|\"[^\"]*\"|'[^']*'|[^\s;&,\"')}\]]+)"
        ),
        rf"\1{HIDDEN}",
    ),
    # curl -u user:password
    (re.compile(r"(\s-u\s{0,3})[^\s:]{1,100}:\S+"), rf"\1{HIDDEN}"),
    # thin:user/password@host
    (re.compile(r"(?i)(\bthin:)[^\s@/]{1,100}/[^\s@]{1,200}@"), rf"\1{HIDDEN}@"),
    (re.compile(r"(?i)(https://hooks\.[^\s/]{1,100}/)\S+"), rf"\1{HIDDEN}"),
    # --password value
    (
        re.compile(
            rf"(?i)((?:^|\s)--?[\w-]{{0,40}}(?:{_WORDS}|user(?:name)?)[\w-]{{0,40}}\s+)[^\s-]\S*"
        ),
        rf"\1{HIDDEN}",
    ),
    # What well-known issuers give out.
    (
        re.compile(
            r"\b(?:(?:AKIA|ASIA|AGPA|AROA)[0-9A-Z]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}"
            r"|glpat-[\w-]{16,}|xox[abprs]-[\w-]{10,}|dapi[0-9a-f]{32}(?:-\d+)?|AIza[\w-]{30,}"
            r"|ya29\.[\w-]{20,}|sk-[\w-]{20,}|hf_\w{20,}|npm_\w{30,}"
            r"|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"
        ),
        HIDDEN,
    ),
    # The names of people in paths.
    (re.compile(r"((?:/home|/Users|/user|\\Users)[/\\])[^/\\\s:;,'\"]+"), r"\1(user)"),
)
_RANDOM = re.compile(r"(?<![\w/+=.-])[A-Za-z0-9+/_-]{32,}={0,2}(?![\w/+])")


def text(value: str) -> str:
    """Return a text without what looks like secrets in it."""
    for pattern, instead in _INSIDE:
        value = pattern.sub(instead, value)
    return _RANDOM.sub(_unless_plain, value)


def _unless_plain(found: re.Match[str]) -> str:
    """Hide a long word of mixed letters and digits without the shape of a path or a name."""
    word = found[0]
    digits = sum(c.isdigit() for c in word)
    upper = sum(c.isupper() for c in word)
    lower = sum(c.islower() for c in word)
    mixed = min(digits, upper, lower) >= 3
    encoded = digits > 0 and min(upper, lower) >= 5 and ("/" in word or "+" in word)
    return HIDDEN if (mixed or encoded) and word.count("/") <= len(word) / 16 else word


def short(value: str, most: int = 300) -> str:
    """Return the redacted beginning of a text that may occur often."""
    # Cut before the patterns see it: their cost grows with the text.
    return _short(value[: 4 * most])[:most]


def place(value: str, most: int = 300) -> str:
    """Return a place in a program, redacted; long names in it stay what they are."""
    return _place(value[: 4 * most])[:most]


@lru_cache(maxsize=4096)
def _short(value: str) -> str:
    return text(value)


@lru_cache(maxsize=4096)
def _place(value: str) -> str:
    for pattern, instead in _INSIDE:
        value = pattern.sub(instead, value)
    return value


def properties(told: Mapping[str, str], most: int = 2000, length: int = 1000) -> dict[str, str]:
    """Return properties without secrets.

    Args:
        told: As the source logged them.
        most: How many are kept.
        length: Characters of a value that are kept.
    """
    kept: dict[str, str] = {}
    for key in sorted(told)[:most]:
        name, value = key[:200], told[key][: 4 * length]
        harmless = value.lower() in _HARMLESS or (_SAFE.search(name) and _PLAIN.fullmatch(value))
        if _KEY.search(name) and not harmless:
            kept[text(name)] = HIDDEN
        else:
            kept[text(name)] = text(value)[:length]
    return kept
