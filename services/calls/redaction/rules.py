"""What is secret by default: names of headers, keys and parameters, and formats of credentials. Data only.

`Names` reads the names, `Texts` the formats. Every expression here is linear: runs are possessive, and either
what may fail after a run is bounded or a run can only begin where one cannot go on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from services.calls.redaction.proofs import has_digit, is_basic, is_bearer, is_card

SECRET_HEADERS = frozenset(
    (
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "api-key",
        "apikey",
        "x-api-key",
        "x-apikey",
        "x-access-token",
        "x-amz-security-token",
        "x-auth-token",
        "x-csrf-token",
        "x-goog-api-key",
        "x-xsrf-token",
    )
)

# Names are compared folded: lower case, nothing but letters and digits (`Names.fold`).
SECRET_ENDS = (
    *(b"password", b"passwords", b"passwd", b"passphrase", b"passcode", b"pwd", b"passwordhash"),
    *(b"passwordconfirmation", b"passwordconfirm", b"passwordagain", b"passwordrepeat"),
    *(b"secret", b"secrets", b"token", b"jwt", b"authorization", b"credential", b"credentials", b"cookie"),
    *(b"apikey", b"apikeys", b"accesskey", b"secretkey", b"privatekey", b"signingkey", b"encryptionkey"),
    *(b"masterkey", b"sharedkey", b"accountkey", b"authkey", b"subscriptionkey", b"sessionkey"),
    *(b"sessionid", b"sessid", b"cardnumber", b"securitycode", b"recoverycode", b"recoverycodes"),
    *(b"clientassertion", b"codeverifier", b"samlresponse", b"mnemonic", b"seedphrase"),
)
SECRET_NAMES = frozenset(
    (
        b"pass",
        b"auth",
        b"pin",
        b"otp",
        b"totp",
        b"cvv",
        b"cvc",
        b"cvv2",
        b"cvc2",
        b"csc",
        b"ssn",
        b"sid",
        b"pan",
    )
)
PUBLIC_ENDS = (
    # Where a list goes on, and what a language model counts with.
    *(b"pagetoken", b"nexttoken", b"continuationtoken", b"synctoken", b"cancellationtoken"),
    *(b"eostoken", b"bostoken", b"padtoken", b"unktoken", b"septoken", b"clstoken", b"masktoken"),
)
SECRET_PARAMETERS = frozenset((b"sig", b"signature", b"xamzsignature", b"xgoogsignature"))
"""Secret in a URL or a form only: a signature opens what the URL names (AWS SigV4, Azure SAS, Google V4)."""

KEY_HINT = (
    r"(?i)pass|pwd|secret|token|key|auth|credential|cookie|jwt|sess|card|securit|recover|assert|verif|saml|"
    r"mnemonic|seed|[^a-z](?:pin|t?otp|cvv|cvc|csc|ssn|sid|pan)[0-9]*[^a-z]"
)
"""RE2. JSON without it has no secret key, unless one is written with escapes."""

SCHEMES = frozenset(
    # https://www.iana.org/assignments/http-authschemes, and those that large APIs use besides.
    (
        *(b"basic", b"bearer", b"concealed", b"digest", b"dpop", b"gnap", b"hoba", b"mutual", b"negotiate"),
        *(b"ntlm", b"oauth", b"privatetoken", b"scram-sha-1", b"scram-sha-256", b"vapid"),
        *(b"aws4-hmac-sha256", b"aws4-ecdsa-p256-sha256", b"goog4-rsa-sha256", b"apikey", b"hawk", b"key"),
        *(b"sharedkey", b"sharedkeylite", b"sharedaccesssignature", b"token"),
    )
)

COOKIE_ATTRIBUTES = frozenset(
    # RFC 6265bis, 4.1.2, with Partitioned (CHIPS) and Priority (Chromium).
    (
        b"expires",
        b"max-age",
        b"domain",
        b"path",
        b"secure",
        b"httponly",
        b"samesite",
        b"partitioned",
        b"priority",
    )
)

DESCRIBING_HEADERS = frozenset(
    ("content-type", "content-encoding", "content-length", "transfer-encoding", "host", "date")
)
"""Their values stay in strict mode: without them a captured body could not be read."""


class Format(NamedTuple):
    """One form of credential. hint: RE2, matches wherever the expression does. group: the part to mask.
    is_one: a check that no expression can make."""

    kind: str
    hint: str
    expression: re.Pattern[bytes]
    group: int = 0
    is_one: Callable[[bytes], bool] | None = None


def _token(kind: str, head: str, rest: str, is_one: Callable[[bytes], bool] | None = None) -> Format:
    """A token that begins with `head`, of a fixed length, not in the middle of a word."""
    expression = rf"{head}(?<![A-Za-z0-9]{head}){rest}"
    return Format(kind, head, re.compile(expression.encode()), 0, is_one)


def _after(kind: str, head: str, secret: str, is_one: Callable[[bytes], bool] | None = None) -> Format:
    return Format(kind, head, re.compile(f"{head}({secret})".encode()), 1, is_one)


FORMATS = (
    # RFC 7515, 3.1 and RFC 7516, 3.1: base64url of a JSON object, then two or four parts more.
    Format(
        "jwt", "eyJ", re.compile(rb"eyJ(?<![A-Za-z0-9_-]eyJ)[A-Za-z0-9_-]{5,}+(?:\.[A-Za-z0-9_-]*+){1,4}+")
    ),
    # RFC 6750, 2.1 and RFC 7617, 2.
    _after(
        "bearer",
        r"[Bb][Ee][Aa][Rr][Ee][Rr][ \t]{1,8}",
        r"[A-Za-z0-9._~+/-]{8,}+=*+",
        is_bearer,
    ),
    _after("basic", r"[Bb][Aa][Ss][Ii][Cc][ \t]{1,8}", r"[A-Za-z0-9+/_-]{4,}+={0,2}+", is_basic),
    # RFC 7468, 10 and 11; RFC 1421, 4.4; RFC 9580, 6.2. A cut key has no end.
    Format(
        "private-key",
        "PRIVATE KEY",
        re.compile(
            rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?:[A-Za-z0-9+/=\s:,.()\\]++|-(?!----))*+"
            rb"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----)?+"
        ),
    ),
    _token("private-key", "AGE-SECRET-KEY-1", "[0-9A-Z]{40,}+"),  # https://age-encryption.org/v1
    # ISO/IEC 7812-1: written without gaps, or with one kind of gap where the card has them.
    Format(
        "card",
        r"[2-6][0-9]{3}(?:[0-9]{9}|[ -][0-9]{4})",
        re.compile(
            rb"[2-6](?<![0-9A-Za-z_][2-6])(?<![0-9][.-][2-6])[0-9]{3}"
            rb"(?:[0-9]{9,15}+|([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?+"
            rb"|([ -])[0-9]{6}\2[0-9]{4,5}+)"
            rb"(?![0-9A-Za-z_]|[.-][0-9])"
        ),
        0,
        is_card,
    ),
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids
    _token("aws-key", "A(?:KIA|SIA|BIA|CCA)", "[A-Z0-9]{16}(?![A-Za-z0-9])"),
    # https://docs.cloud.google.com/docs/authentication/api-keys, and OAuth's tokens and client secrets.
    _token("gcp-key", "AIza", "[A-Za-z0-9_-]{35,}+"),
    _token("gcp-key", r"ya29\.", "[A-Za-z0-9_-]{20,}+"),
    _token("gcp-key", "GOCSPX-", "[A-Za-z0-9_-]{20,}+"),
    # https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string
    _after("azure-key", "(?:AccountKey|SharedAccessKey)=", "[A-Za-z0-9+/]{40,}+={0,2}+"),
    # https://docs.github.com/authentication/keeping-your-account-and-data-secure/about-authentication-to-github
    _token("github-token", "gh[pousr]_", "[A-Za-z0-9_]{30,}+"),
    _token("github-token", "github_pat_", "[A-Za-z0-9_]{22,}+"),
    # https://docs.gitlab.com/security/tokens/#token-prefixes
    _token("gitlab-token", "gl(?:pat|ptt|cbt|soa)-", "[A-Za-z0-9_.-]{20,}+"),
    # https://docs.slack.dev/authentication/tokens, and incoming webhooks.
    _token("slack-token", "xox[abceoprs]-", "[A-Za-z0-9-]{10,}+"),
    _token("slack-token", "xapp-", "[A-Za-z0-9-]{20,}+"),
    _after("slack-token", r"hooks\.slack\.com/services/", "[A-Za-z0-9/]{20,}+"),
    # https://docs.stripe.com/keys
    _token("stripe-key", "[rs]k_(?:live|test)_", "[A-Za-z0-9]{10,}+"),
    _token("stripe-key", "whsec_", "[A-Za-z0-9+/]{20,}+={0,2}+"),
    # OpenAI's and Anthropic's keys share a head with words of style sheets: these have digits.
    _token("ai-key", "sk-", "[A-Za-z0-9_-]{32,}+", has_digit),
    _token("npm-token", "npm_", "[A-Za-z0-9]{36,}+"),  # https://docs.npmjs.com/about-access-tokens
    _token("pypi-token", "pypi-", "[A-Za-z0-9_-]{50,}+"),  # https://pypi.org/help/#apitoken
    _token("huggingface-token", "hf_", "[A-Za-z0-9]{30,}+"),
    _token("sendgrid-key", r"SG\.", r"[A-Za-z0-9_-]{16,64}+\.[A-Za-z0-9_-]{16,}+"),
    _token("shopify-token", "shp(?:at|ca|pa|ss)_", "[A-Fa-f0-9]{32,}+"),
    _token("digitalocean-token", "do[opr]_v1_", "[a-f0-9]{64,}+"),
    _token("vault-token", r"hv[sbr]\.", "[A-Za-z0-9_-]{24,}+"),  # HashiCorp Vault 1.10 and newer
    _token("atlassian-token", "ATATT3", "[A-Za-z0-9_=-]{50,}+"),
    # https://core.telegram.org/bots/api#authorizing-your-bot: the bot's number is public.
    Format("telegram-token", ":AA", re.compile(rb":(?<=[0-9]{8}:)(AA[A-Za-z0-9_-]{30,}+)"), 1),
    _token("trunkline-token", "tl_", "[A-Za-z0-9]{30,}+"),
    _token("trunkline-token", "tl[bsi]_", "[A-Za-z0-9]{30,}+"),  # a bucket's token, a session, an invitation
)
