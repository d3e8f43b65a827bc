"""Every exception dlsp raises for the world's mistakes. Our own mistakes are asserts.

DlspError                 one clear sentence; `action` is the next thing to do
├── ConfigError           a limit, option or model fact that makes no sense
├── RequestError          a request that cannot be served as it stands (bad position, empty hole list)
│   └── HolesApartError
├── CheckpointError       model files missing, corrupt or of an unknown kind
│   └── UnknownFamilyError
├── DeviceError           the device asked for cannot be used
├── HostError             the engine host cannot be started, reached or trusted
│   ├── LoadingError      the host is up but the model is not ready yet
│   └── PlaceError        its folder or socket cannot be used or trusted, and will not be until somebody changes that
└── DocumentError         a file that is missing, binary or shorter than the position asked for
"""

from __future__ import annotations

import re


class DlspError(Exception):
    """Base of the tree. `str(error)` is one sentence for a person, `action` the command or step that helps."""

    def __init__(self, message: str, action: str = "") -> None:
        super().__init__(message)
        self.action = action

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} {self.action}" if self.action else message

    @property
    def reason(self) -> str:
        """The kind of error as a state has it: `checkpoint_error` for a CheckpointError."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()


class ConfigError(DlspError):
    """A limit, option or model fact that makes no sense."""


class RequestError(DlspError):
    """A request that cannot be served as it stands."""


class HolesApartError(RequestError):
    """Holes that are farther apart than the model reads: each half of them may still be served."""


class CheckpointError(DlspError):
    """Model files missing, corrupt or of an unknown kind."""


class UnknownFamilyError(CheckpointError):
    """A checkpoint whose architecture facts match no known family."""


class DeviceError(DlspError):
    """The device asked for cannot be used."""


class HostError(DlspError):
    """The engine host cannot be started, reached or trusted."""


class LoadingError(HostError):
    """The host is up but the model is not ready yet."""


class PlaceError(HostError):
    """The folder or the socket of the engine host cannot be used or trusted."""


class DocumentError(DlspError):
    """A file that is missing, binary or shorter than the position asked for."""
