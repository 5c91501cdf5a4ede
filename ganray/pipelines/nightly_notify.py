"""Tell a webhook of a night: one POST of JSON, whose failure is logged and fails nothing."""

import json
import logging
import os
import threading
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from ganray.pipelines.nightly_config import is_web_address

POST_SECONDS = 10.0

_log = logging.getLogger(__name__)


def notify(webhook: str, content: Mapping[str, Any]) -> bool:
    """POST `content` to a URL, or to the one that `$NAME` stands for; whether it was taken.

    It never lasts longer than POST_SECONDS, however slowly the other side answers. The URL is
    never logged: its host alone.
    """
    url = url_of(webhook)
    if not url:
        return False
    taken: list[bool] = []
    data = json.dumps(content).encode()
    thread = threading.Thread(target=lambda: taken.append(_post(url, data)), daemon=True)
    thread.start()
    thread.join(POST_SECONDS)
    if thread.is_alive():
        _fail(url, f"no answer within {POST_SECONDS:g} s")
    return taken == [True]


def url_of(webhook: str) -> str:
    """The URL itself, or the one that `$NAME` stands for; empty, and logged, if that is none."""
    is_named = webhook.startswith("$")
    url = os.environ.get(webhook[1:], "") if is_named else webhook
    if is_web_address(url):
        return url
    trouble = "holds no http(s) URL" if url else "is not set"
    _log.warning("event=notify_failed cause='%s %s'", webhook if is_named else "webhook", trouble)
    return ""


def _post(url: str, data: bytes) -> bool:
    request = Request(url, data, {"Content-Type": "application/json"}, method="POST")  # noqa: S310 checked
    try:
        with urlopen(request, timeout=POST_SECONDS) as answer:  # noqa: S310 checked
            answer.read(1)
    except (OSError, HTTPException, ValueError) as error:
        _fail(url, _cause(error))
        return False
    return True


def _cause(error: Exception) -> str:
    """What may be said of an error: the text of an invalid URL's holds its path, the secret.

    A status of 400 and above is an OSError, which may name the URL of a redirection.
    """
    kind = type(error).__name__
    if not isinstance(error, OSError):
        return kind
    return f"{kind}: {getattr(error, 'code', '') or error}"


def _fail(url: str, cause: str) -> None:
    _log.warning("event=notify_failed host=%r cause=%r", urlsplit(url).hostname, cause)
