"""WireError back to the exception it names. Knows nothing of how it came here."""

from __future__ import annotations

from engine import errors
from engine.api import WireError
from engine.errors import DlspError, HostError


def as_error(wire: WireError) -> DlspError:
    """The exception that `wire` describes; HostError for a kind this version does not know."""
    kind = getattr(errors, wire.type, None)
    if not (isinstance(kind, type) and issubclass(kind, DlspError)):
        kind = HostError
    return kind(wire.message, wire.action)
