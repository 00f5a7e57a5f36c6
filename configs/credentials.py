"""Credentials inside a URI: refused in settings and manifests, masked in messages, logs and tables.

They come from the environment alone. A URI with a password, or one that was signed in advance, would be a secret in
every row, every log line and every report.
"""

import re
from typing import Annotated

from pydantic import AfterValidator

MASK = "***"
# A secret key may hold slashes. Without a colon it is no password: abfs://container@account.
USER_INFO = re.compile(r"""(?<=://)[^\s/?#@:'"]*:[^\s'"<>\\\x1b]*(?=@)""")
PARAMETERS = (
    *("x-amz-signature", "x-amz-credential", "awsaccesskeyid", "signature", "sig"),
    *("x-goog-signature", "x-goog-credential", "googleaccessid"),
    *(r"[\w-]*token", r"[\w-]*secret", r"[\w-]*password", "passwd", "pwd", r"(?:api|access|account|shared)[_-]?key"),
)
PARAMETER = re.compile(rf"""([?&;](?:{"|".join(PARAMETERS)})=)[^&;#\s'"<>\\\x1b]+""", re.IGNORECASE)


def masked(text: str) -> str:
    """The text, with the credentials of URIs in it masked."""
    return PARAMETER.sub(rf"\1{MASK}", USER_INFO.sub(MASK, text))


def refuse_credentials(uri: str) -> str:
    """The URI. Raises ValueError where there are credentials in it, without repeating them."""
    if "://" in uri and masked(uri) != uri:
        raise ValueError(
            "there are credentials in this URI, which would land in tables and logs; leave them out and set them in "
            "the environment (AWS_PROFILE, AWS_ACCESS_KEY_ID), or give the machine a role"
        )
    return uri


Uri = Annotated[str, AfterValidator(refuse_credentials)]
"""A setting that names a place."""
