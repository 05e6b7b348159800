"""What an S3 client's exceptions mean in terms of the store contract."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)
from urllib3.exceptions import HTTPError

from app.errors import HubError
from app.store.contract import ObjectMissing, StoreFull, StoreRefused, StoreUnavailable

REFUSALS = {
    "AccessDenied",
    "InvalidAccessKeyId",
    "NoSuchBucket",
    "PermanentRedirect",
    "SignatureDoesNotMatch",
}
FULL = {"XMinioStorageFull", "QuotaExceeded", "EntityTooLarge"}


@contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Turn the client's errors into the contract's; ``what`` names the operation in messages.

    ValueError is what botocore makes of an answer whose dates or numbers are none.
    """
    try:
        yield
    except (ClientError, BotoCoreError, HTTPError, ValueError) as error:
        raise _meaning(error, what) from error


def _meaning(error: Exception, what: str) -> HubError:
    if isinstance(error, ClientError):
        return _answer_meaning(error, what)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | ParamValidationError):
        return StoreRefused(f"{what}: {error}")
    return StoreUnavailable(f"{what}: {error}")


def _answer_meaning(error: ClientError, what: str) -> HubError:
    response: dict[str, Any] = dict(error.response)
    code = str(response.get("Error", {}).get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    text = f"{what}: {status} {code}"
    if code in FULL or status == 507:
        return StoreFull(text)
    if code in REFUSALS or status in (301, 401, 403):
        return StoreRefused(text)
    if status == 404:  # HEAD has no body, hence no code
        return ObjectMissing(text)
    return StoreUnavailable(text)
