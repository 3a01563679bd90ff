"""The words of a text and of a call, phrases of them, and how every engine indexes both. Pure.

`words` splits a text, `indexed` says which words of a call are searched, `Words` is a phrase that a person
looks for and `matches` what it means. Engines never see words but their tokens: `streams` of a call,
`wanted` of a phrase. A phrase is found where its tokens stand side by side in one stream.
"""

from __future__ import annotations

from services.calls.words.indexing import BODY_TEXT_BYTES as BODY_TEXT_BYTES
from services.calls.words.indexing import MAX_BODY_WORDS as MAX_BODY_WORDS
from services.calls.words.indexing import MAX_HEAD_WORDS as MAX_HEAD_WORDS
from services.calls.words.indexing import MAX_PLACES as MAX_PLACES
from services.calls.words.indexing import Indexed as Indexed
from services.calls.words.indexing import indexed as indexed
from services.calls.words.phrases import Words as Words
from services.calls.words.phrases import WordsScope as WordsScope
from services.calls.words.phrases import holds as holds
from services.calls.words.phrases import matches as matches
from services.calls.words.splitting import MAX_WORD_CHARS as MAX_WORD_CHARS
from services.calls.words.splitting import canonical_name as canonical_name
from services.calls.words.splitting import words as words
from services.calls.words.tokens import BREAK as BREAK
from services.calls.words.tokens import Stream as Stream
from services.calls.words.tokens import Streams as Streams
from services.calls.words.tokens import Wanted as Wanted
from services.calls.words.tokens import fts5_match as fts5_match
from services.calls.words.tokens import note_stream as note_stream
from services.calls.words.tokens import streams as streams
from services.calls.words.tokens import tsquery as tsquery
from services.calls.words.tokens import tsvector as tsvector
from services.calls.words.tokens import wanted as wanted
