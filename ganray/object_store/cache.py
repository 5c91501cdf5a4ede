"""The cache of Swift's proxy, kept in the proxy's own process.

Swift asks memcached before it asks its account and container servers. With one proxy process
a dictionary does as well, and spares a daemon. It answers the calls that the proxy of
`configuration.py` makes, not the whole interface of Swift's memcache client.
"""

import json
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

MAX_ENTRIES = 50_000

# A WSGI application: environment and start_response in, the reply's chunks out.
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Cache:
    """A dictionary with times of expiry behind Swift's memcache calls."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[str, float]] = {}

    def set(self, key: str, value: Any, time: float = 0, **options: Any) -> None:
        """Keep `value` for `time` seconds, 0 for as long as there is room."""
        self._entries.pop(key, None)
        if len(self._entries) >= MAX_ENTRIES:
            # A dictionary keeps the order of insertion, so this is the oldest entry.
            del self._entries[next(iter(self._entries))]
        # As JSON, like memcached: callers change the values that they get.
        expiry = monotonic() + time if time > 0 else float("inf")
        self._entries[key] = (json.dumps(value), expiry)

    def get(self, key: str, raise_on_error: bool = False) -> Any:
        """The value of `key`, None when it is absent or expired."""
        text, expiry = self._entries.get(key, ("null", float("inf")))
        if expiry < monotonic():
            del self._entries[key]
            return None
        return json.loads(text)

    def delete(self, key: str, server_key: str | None = None) -> None:
        """Forget `key`."""
        self._entries.pop(key, None)


def filter_factory(
    global_conf: dict[str, str], **local_conf: str
) -> Callable[[Application], Application]:
    """The Paste filter that hands the cache to every request."""
    cache = Cache()

    def filtered(application: Application) -> Application:
        def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            environ["swift.cache"] = cache
            return application(environ, start_response)

        return call

    return filtered
