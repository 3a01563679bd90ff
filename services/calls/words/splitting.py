"""A text as words. Read by the indexer and by the query language, so that both mean the same by a word."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

MAX_WORD_CHARS = 64

# Scripts written without blanks between words (Thai, Lao, Burmese, Khmer, kana, Han): a character is a word,
# so that a phrase finds it inside a sentence.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[^\W_{_UNSPACED}]+|(?!_)\w")
_ASCII = bytes(ord(chr(b).lower()) if b < 128 and chr(b).isalnum() else 0x20 for b in range(256))
# Putting the marks of one character in order takes time quadratic in their number.
_LONG_RUN = re.compile(r"[^\x00-\x7f]{257}")
_BOUNDED = re.compile(r"[^\x00-\x7f]{1,256}|[\x00-\x7f]+")
_NAME_CHAR = re.compile(r"[^a-z0-9]")
_MAX_NAME_CHARS = 64


def words(text: str) -> list[str]:
    """The words of `text`, in order: maximal runs of alphanumeric characters (`str.isalnum`) of its
    compatibility form (NFKC) with case folded, each cut to MAX_WORD_CHARS. Characters of scripts that put no
    blanks between words stand alone. `words(" ".join(words(text))) == words(text)`."""
    if text.isascii():
        found = text.encode().translate(_ASCII).decode("ascii").split()
    else:
        found = _WORD.findall(_folded(text))
    if len(text) > MAX_WORD_CHARS and max(map(len, found), default=0) > MAX_WORD_CHARS:
        return [word[:MAX_WORD_CHARS] for word in found]
    return found


@lru_cache(maxsize=4096)
def canonical_name(name: str) -> str:
    """A header's name as it is searched: in lower case, everything but ASCII letters and digits replaced by
    `_`, so that `Content-Type` and `content_type` are one."""
    return _NAME_CHAR.sub("_", name[:_MAX_NAME_CHARS].lower())[:_MAX_NAME_CHARS]


def _folded(text: str) -> str:
    return _composed(_composed(text).casefold())


def _composed(text: str) -> str:
    if _LONG_RUN.search(text) is None:
        return unicodedata.normalize("NFKC", text)
    return "".join(unicodedata.normalize("NFKC", piece) for piece in _BOUNDED.findall(text))
