"""What reading a document showed beside its text, for those who want to know whether to trust it."""

from dataclasses import dataclass, field
from typing import Literal

Choice = Literal["mark", "set", "valid", "declared", "guessed"]
"""How an encoding was chosen: by the byte order mark; by `input.encoding`; since all bytes are valid in it (UTF-8);
since the document declares it; or by a guess at its language."""


@dataclass
class Notes:
    """Filled in while the text is read, and complete at its end."""

    encoding: str | None = None
    """Of its bytes; None while all of them were ASCII, and where the format leaves no choice."""
    chosen_by: Choice | None = None
    """None like `encoding`, and where reading was resumed."""
    warnings: list[str] = field(default_factory=list)
    """Sentences about what may be wrong with the text."""
