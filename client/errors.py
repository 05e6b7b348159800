"""What can go wrong between a client and a hub.

ClientError
├── BadEndpoint        the address of the hub is none
├── Unreachable        no answer, or a broken one, after all retries
│   └── NoConnection   nobody listens there, or the name is not known
├── Refused            the hub said no; carries status and X-Error-Code
│   ├── LeaseLost      a claim on a job is over: drop the job, nothing was written
│   └── StaleLocation  the URL of stored bytes has expired or its object is gone: plan anew
├── BadAnswer          the hub answered something that makes no sense
├── DamagedDownload    the bytes are not what their digest says, from no source
└── TargetRefused      a path or directory that must not or cannot be written to

Retries happen below these: whoever sees one may tell the user, or try again much later.
"""


class ClientError(Exception):
    """Base of all errors of this package; the message is fit to be shown."""


class BadEndpoint(ClientError):
    """An endpoint that is no URL of a server."""


class Unreachable(ClientError):
    """The hub or its store did not answer."""


class NoConnection(Unreachable):
    """There is no connection to be had; the message is the system's word for it."""


class Refused(ClientError):
    """The hub refused. ``code`` is its X-Error-Code, empty if it sent none."""

    def __init__(self, message: str, *, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class LeaseLost(Refused):
    """The job is another trainer's, or was cancelled."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=409, code="LeaseLost")


class StaleLocation(Refused):
    """Stored bytes are no longer to be had under this URL."""


class BadAnswer(ClientError):
    """An answer that does not follow the documented format."""


class DamagedDownload(ClientError):
    """Bytes that do not match their digest."""


class TargetRefused(ClientError):
    """Nothing may be written there."""
