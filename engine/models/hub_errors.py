"""What goes wrong between us and a model hub, or between us and the disk, as one sentence and the next action.

Knows the errors of huggingface_hub and of the HTTP package that it is built on; asks nothing of anybody.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from engine.errors import CheckpointError, DlspError, HostError
from engine.models.store import ModelName

KEPT = "What has been downloaded is kept: the same command goes on from there."

_TRANSIENT = (408, 429, 500, 502, 503, 504)


@contextmanager
def explained(name: ModelName, url: str, file: str = "") -> Iterator[None]:
    """Turns whatever the library raises inside the block into one of ours."""
    try:
        yield
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise explain(error, name, url, file) from error
    except (ValueError, TypeError, KeyError, ImportError) as error:
        # The library does not check answers that are no hub's, nor proxy settings that make no sense.
        raise HostError(
            f"{url} does not answer as a model hub does ({_brief(error)}).",
            "Check HF_ENDPOINT and HTTPS_PROXY, and whether a log-in page stands between you and the network.",
        ) from error


def check_address(url: str) -> None:
    """Raises HostError where `url` is nothing that can be asked: only HF_ENDPOINT can have made it so."""
    try:
        address = urlsplit(url)
        sound = address.scheme in ("http", "https") and bool(address.hostname)
    except ValueError:
        sound = False
    if not sound:
        raise HostError(f"HF_ENDPOINT is not an address ({url!r}).", "Set it to one that begins with https://, or unset it.")


def explain(error: Exception, name: ModelName, url: str, file: str = "") -> DlspError:
    """One sentence and the next action for what went wrong between us and the hub."""
    page = f"{url}/{name.id}"
    what = f"{file} of {name.id}" if file else name.id
    if isinstance(error, OfflineModeIsEnabled):
        return HostError(
            "Nothing is downloaded while HF_HUB_OFFLINE is set.",
            "Unset it, or copy the model's folder from another machine and run `dlsp models use PATH`.",
        )
    if isinstance(error, GatedRepoError):
        return CheckpointError(
            f"{name.id} is only given to people who have accepted its terms.",
            f"Accept them on {page}, set HF_TOKEN to a token of that account, and pull again.",
        )
    if isinstance(error, RepositoryNotFoundError):
        return CheckpointError(
            f"The hub has no model {name.id} that you may read.",
            "Check the spelling; for a private model set HF_TOKEN to a token that may read it.",
        )
    if isinstance(error, RevisionNotFoundError):
        return CheckpointError(
            f"{name.id} has no revision {name.revision!r}.",
            f"Leave it away to get the latest, or name a branch, a tag or a commit (in full) of {page}.",
        )
    if isinstance(error, DisabledRepoError):
        return CheckpointError(f"{name.id} has been withdrawn from the hub.", "Choose another model; `dlsp models` lists the families.")
    if isinstance(error, EntryNotFoundError):
        return CheckpointError(f"{what} is not on the hub any more.", "Pull the model again.")
    if isinstance(error, HfHubHTTPError):
        return _refusal(error, what)
    return _unreachable(error, url)


def disk_error(error: OSError, folder: Path, keeps: bool = False) -> HostError:
    """One sentence and the next action for a file that cannot be written; `keeps` when part of a download stays where it is."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        then = f"{KEPT} `dlsp models remove` deletes it." if keeps else "Then pull again."
        return HostError(f"The disk is full: {folder} cannot take more.", f"Free some space. {then}")
    return HostError(f"{error.filename or folder} cannot be written ({error.strerror or error}).", "Check the permissions of this folder.")


def is_transient(error: HTTPError) -> bool:
    """Whether the same question may get an answer a little later."""
    if isinstance(error, HfHubHTTPError):
        return status_of(error) in _TRANSIENT
    return type(error).__name__ != "ProxyError" and "CERTIFICATE" not in str(error).upper()


def status_of(error: HTTPError) -> int:
    """The status of the hub's answer, 0 where there was none."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else 0


def _refusal(error: HfHubHTTPError, what: str) -> DlspError:
    status = status_of(error)
    if status == 401:
        return CheckpointError(
            "The hub does not accept your token.", "Set HF_TOKEN to a valid one, or unset it and log out: a public model needs none."
        )
    if status == 403:
        return CheckpointError(f"Your token may not read {what}.", "Set HF_TOKEN to one that has read access to this model.")
    if status == 404:
        return CheckpointError(f"The hub does not have {what}.", "Check the spelling, and HF_ENDPOINT if it is set.")
    if status == 429:
        return HostError("The hub asks for a pause: too many requests came from here.", "Try again in five minutes.")
    if status >= 500:
        return HostError(f"The hub has trouble of its own (status {status}).", "Try again later.")
    return HostError(f"The hub refuses to give {what} (status {status}).", "Try again, or name another revision.")


def _unreachable(error: Exception, url: str) -> HostError:
    # The library is built on one of two HTTP packages, which agree in the names of their errors.
    kind, said = type(error).__name__, _brief(error)
    if kind == "ProxyError":
        return HostError(f"The proxy does not let us through ({said}).", "Check HTTPS_PROXY, and NO_PROXY for hosts that need none.")
    if "CERTIFICATE" in said.upper():
        return HostError(
            f"The certificate of {url} is not trusted.",
            "If your network inspects connections, set SSL_CERT_FILE to its certificate authority.",
        )
    first = "" if url == constants._HF_DEFAULT_ENDPOINT else "HF_ENDPOINT, which sets this address, "
    action = f"Check {first}the network, and HTTPS_PROXY if there is a proxy."
    if "Timeout" in kind:
        return HostError(f"{url} did not answer in time.", action)
    return HostError(f"{url} cannot be reached ({said}).", action)


def _brief(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
