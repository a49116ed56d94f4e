"""Files of weights from the network: by https, whole and with the sha256 that is known of them, or not at all."""

from __future__ import annotations

import hashlib
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, BinaryIO
from urllib.error import HTTPError
from urllib.parse import unquote, urldefrag, urlparse
from urllib.request import HTTPRedirectHandler, Request, build_opener

import torch

from camcli._version import __version__
from camcli.errors import SetupError
from camcli.models import catalog
from camcli.storage.writing import whole

# Without a byte from the server.
SECONDS = 60.0
# No classifier's weights are larger; a server that never ends must not fill the disk.
MAX_BYTES = 20_000_000_000
# What an URL says of its file after the "#", as pip's do.
SHA256 = "sha256="
_CHUNK = 1 << 20


def folder() -> Path:
    """torch's own cache of checkpoints (TORCH_HOME)."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def of_url(url: str, *, progress: bool = False) -> Path:
    """The file of an URL that the user named, `https://…` or `https://…#sha256=…`; kept in a folder for that URL alone.

    Raises: SetupError: as `fetch`.
    """
    own = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    bare, fragment = urldefrag(url)
    name = Path(unquote(urlparse(bare).path)).name or "weights"
    return fetch(bare, folder() / "camcli" / own / name, fragment.removeprefix(SHA256), progress=progress)


def fetch(url: str, path: Path, sha256: str, *, progress: bool = False) -> Path:
    """`path`, downloaded from `url` if it is not there; `sha256` is the beginning of its digest, "" if none is known.

    Raises:
        SetupError: unreachable, silent for `SECONDS`, cut off, more than `MAX_BYTES`, or not the file promised;
            nothing is at `path` then.
    """
    if path.exists():
        return path
    otherwise = (
        f"put the file at {path} by hand, name one with --weights FILE, "
        f"or use the bundled model (--model {catalog.BUNDLED}), which needs no network"
    )
    try:
        with whole(path) as file:
            found = _received(url, file, progress)
            if not found.startswith(sha256):
                raise SetupError(
                    f"the weights downloaded from {url} are not the file promised (wrong sha256 {found}): {otherwise}"
                )
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(error, HTTPError):
            error.close()
            reason = f"HTTP {error.code} {error.reason}"
        raise SetupError(f"can't download {url} ({reason}): {otherwise}") from None
    return path


class _HttpsOnly(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        if urlparse(newurl).scheme != "https":
            raise HTTPError(newurl, code, f"leads on to {newurl}, and weights come by https only", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _received(url: str, file: BinaryIO, progress: bool) -> str:
    """Writes what the server sends; returns its sha256."""
    digest = hashlib.sha256()
    request = Request(url, headers={"User-Agent": f"camcli/{__version__}"})
    answer: HTTPResponse
    with build_opener(_HttpsOnly).open(request, timeout=SECONDS) as answer:
        size = answer.length
        shown = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
        with torch.hub.tqdm(total=size, disable=not progress, **shown) as bar:  # type: ignore[attr-defined]
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                if file.tell() > MAX_BYTES:
                    raise OSError(f"more than {MAX_BYTES / 1e9:g} GB")
                digest.update(chunk)
                bar.update(len(chunk))
        if answer.length:
            raise OSError(f"the connection broke off {answer.length} of {size} bytes before the end")
    return digest.hexdigest()
