"""What in a log line is a secret?"""

from __future__ import annotations

import numbers
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

MASK = "***"

_MAX_DEPTH = 8  # deeper values are shown as their type's name
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")
_ALWAYS = frozenset({"password", "passwords", "passwd", "secret", "secrets", "authorization", "credentials", "cookie"})
# At the end only: `access_token` is one, `token_count` is a number of tokens.
_AT_THE_END = re.compile(r"(^|_)(token|apikey|(api|access|private|secret|signing|encryption)_key)$")

_USER_INFO = re.compile(r"(?P<before>://[^/\s:@]*:)[^/\s]+(?=@)")
_BEARER = re.compile(r"(?P<before>\bbearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_IN_QUERY = re.compile(r"(?P<before>[?&](?:[\w-]*(?:token|password|secret|key|signature))=)[^&\s\"']+", re.IGNORECASE)
_CALLERS_KEY = re.compile(r"(?P<before>\bhr_[0-9a-f]{16}_)[\w-]{43}")


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether what is called *name* (``db_password``, ``X-API-Key``, ``accessToken``) should not be shown."""
    words = [word.lower() for word in _WORDS.findall(name)]
    return not _ALWAYS.isdisjoint(words) or _AT_THE_END.search("_".join(words)) is not None


def mask_text(text: str) -> str:
    """*text* without passwords in URLs, bearer tokens, callers' keys, and keys in query strings."""
    for pattern in (_USER_INFO, _BEARER, _IN_QUERY, _CALLERS_KEY):
        text = pattern.sub(rf"\g<before>{MASK}", text)
    return text


def masked(value: Any, depth: int = 0) -> Any:
    """*value* with secrets in it replaced: by the name of their key, in mappings and lists too, or by their form."""
    if isinstance(value, str):
        return mask_text(value)
    if depth >= _MAX_DEPTH and isinstance(value, Mapping | list | tuple):
        return type(value).__name__
    if isinstance(value, Mapping):
        return {key: _masked_item(key, item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item, depth + 1) for item in value]
    if value is None or isinstance(value, numbers.Number):
        return value
    return mask_text(str(value))  # an exception's text may hold a URL with a password


def _masked_item(key: Any, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value  # whether there is a secret is none
    return MASK if is_secret_name(str(key)) else masked(value, depth)
