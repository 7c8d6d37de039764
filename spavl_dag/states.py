"""The states a model call can end in.

`ok`, `refused`, `unparsable` and `permanent_error` are final: the call is not made again under the same key, but for
a permanent error of which someone asks for just that (`spavl run --retry failed`). `transient_error` is recorded for
the record's sake and made again by the next run.
"""

from __future__ import annotations

from enum import StrEnum


class CallState(StrEnum):
    """How a model call ended."""

    OK = "ok"
    REFUSED = "refused"
    UNPARSABLE = "unparsable"
    PERMANENT_ERROR = "permanent_error"
    TRANSIENT_ERROR = "transient_error"

    @property
    def is_final(self) -> bool:
        """Whether a run may rely on this state instead of calling again."""
        return self is not CallState.TRANSIENT_ERROR

    @property
    def has_text(self) -> bool:
        """Whether the model returned something (usable or not)."""
        return self in (CallState.OK, CallState.REFUSED, CallState.UNPARSABLE)
