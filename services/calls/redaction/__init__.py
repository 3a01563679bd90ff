"""What must not be published of a call: masked before anything leaves the process that captured it. Pure.

Called by whoever makes a `CallCaptured`: a `redactor.Redactor` for each bucket. A secret gives way to
`[redacted:<kind>:<8 hex of an HMAC under the bucket's key>]`, so that equal secrets stay comparable, and
every other byte stays as it was. docs/redaction.md says what is found, and what is not.
"""

from __future__ import annotations
