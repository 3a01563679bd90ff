"""The query language for calls: from the text a person types to a small tree, and back. Pure.

    query   = [ any ]                           nothing matches every call
    any     = all *( "OR" all )
    all     = term *( [ "AND" ] term )          binds closer than OR
    term    = *"-" ( "(" any ")" / field ":" value / value )
    value   = 1*( bare / quoted )               bare: no blanks, parentheses or quotes; `*` is any run of
                                                characters; in quotes nothing is special but \\" and \\\\

A value alone, and that of header, header.NAME, body, url and note, is a phrase of words, in which a star may
only stand at the end. Read by the vault in front of every engine. Takes time linear in the text, which is
bounded, as are nesting, terms, stars and words. Raises QueryInvalid, which points at the character.
`parse(str(tree), now) == tree` for every tree that `parse` makes (times become absolute), as long as that
text is within the bound.
"""

from __future__ import annotations

from services.calls.query.parsing import MAX_NESTING as MAX_NESTING
from services.calls.query.parsing import MAX_PHRASE_WORDS as MAX_PHRASE_WORDS
from services.calls.query.parsing import MAX_QUERY_CHARS as MAX_QUERY_CHARS
from services.calls.query.parsing import MAX_STARS as MAX_STARS
from services.calls.query.parsing import MAX_TERMS as MAX_TERMS
from services.calls.query.parsing import QueryInvalid as QueryInvalid
from services.calls.query.parsing import parse as parse
from services.calls.query.tree import FIELDS as FIELDS
from services.calls.query.tree import AllOf as AllOf
from services.calls.query.tree import AnyOf as AnyOf
from services.calls.query.tree import Compared as Compared
from services.calls.query.tree import Condition as Condition
from services.calls.query.tree import Is as Is
from services.calls.query.tree import Not as Not
from services.calls.query.tree import NumberField as NumberField
from services.calls.query.tree import Operator as Operator
from services.calls.query.tree import Started as Started
from services.calls.query.tree import StatusClass as StatusClass
from services.calls.query.tree import Term as Term
from services.calls.query.tree import Text as Text
from services.calls.query.tree import TextField as TextField
from services.calls.query.tree import TimeField as TimeField
from services.calls.query.tree import Words as Words
from services.calls.query.tree import WordsScope as WordsScope
from services.calls.query.tree import all_of as all_of
from services.calls.query.tree import any_of as any_of
from services.calls.query.tree import negated as negated
from services.calls.query.tree import within as within
