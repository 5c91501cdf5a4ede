"""Everything a store keeps in its folder beside the data: keys, ports, Paste configuration.

    FOLDER/credentials.json, ports.json    kept from start to start
    FOLDER/etc, log, run                   written anew at every start
    FOLDER/data                            Swift's accounts, buckets and objects

Swift itself is not imported here: a process that starts a store stays free of it.
"""

import json
import os
import secrets
import socket
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ganray.errors import StorageError

HOST = "127.0.0.1"
DEVICE = "disk"
SERVERS = ("account", "container", "object", "proxy")


@dataclass(frozen=True)
class Credentials:
    """The one pair of keys that the store accepts."""

    access_key: str
    secret_key: str = field(repr=False)


def prepare(folder: Path) -> None:
    """Make `folder` ready for the servers: directories, keys, free ports, configuration."""
    for name in ("etc", "log", "run", f"data/{DEVICE}"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _check_attributes(folder / "data")
    if not _credentials_path(folder).exists():
        _write_private(_credentials_path(folder), json.dumps(asdict(_new_credentials())))
    ports = _free_ports(folder)
    _write_private(_ports_path(folder), json.dumps(ports))
    _write_private(folder / "etc" / "swift.conf", SWIFT)
    for server, port in ports.items():
        _write_private(configuration_path(folder, server), _configuration(folder, server, port))


def configuration_path(folder: Path, server: str) -> Path:
    """Where the Paste configuration of `server` is."""
    return folder / "etc" / f"{server}-server.conf"


def read_credentials(folder: Path) -> Credentials:
    """The keys of the store in `folder`."""
    path = _credentials_path(folder)
    try:
        return Credentials(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(
            f"{path} is no readable file of keys; stop the store, remove the file and start again "
            "to get new keys"
        ) from error


def read_ports(folder: Path) -> dict[str, int]:
    """The port of each server of the store in `folder`; empty before the first start."""
    path = _ports_path(folder)
    if not path.exists():
        return {}
    ports: dict[str, int] = json.loads(path.read_text())
    return ports


def _credentials_path(folder: Path) -> Path:
    return folder / "credentials.json"


def _ports_path(folder: Path) -> Path:
    return folder / "ports.json"


def _check_attributes(folder: Path) -> None:
    """Refuse a file system without the extended attributes in which Swift keeps metadata."""
    # Python has these calls on Linux only; elsewhere the first upload would tell.
    if sys.platform == "linux":
        try:
            os.setxattr(folder, "user.ganray", b"")
        except OSError as error:
            raise StorageError(
                f"the file system of {folder} has no extended attributes ({error.strerror}), and "
                "the object store needs them; choose a folder on another disk, for instance ext4"
            ) from error


def _new_credentials() -> Credentials:
    # The part before the colon names Swift's account, which owns the buckets: it never changes,
    # so that the data outlive a change of keys.
    return Credentials(f"ganray:{secrets.token_hex(8)}", secrets.token_hex(20))


def _free_ports(folder: Path) -> dict[str, int]:
    """The ports of the last start if they are still free, else others."""
    with ExitStack() as open_sockets:
        kept = read_ports(folder)
        try:
            return {server: _bind(open_sockets, kept.get(server, 0)) for server in SERVERS}
        except OSError:
            return {server: _bind(open_sockets, 0) for server in SERVERS}


def _bind(open_sockets: ExitStack, port: int) -> int:
    """Bind `port`, 0 for any, until `open_sockets` closes, so that no two servers get the same."""
    listener = open_sockets.enter_context(socket.socket())
    # As the servers do it: a port whose last connections are just fading away counts as free.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((HOST, port))
    return int(listener.getsockname()[1])


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    draft = path.with_name(f"{path.name}.draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def _configuration(folder: Path, server: str, port: int) -> str:
    common = COMMON.format(folder=folder, host=HOST, port=port)
    if server == "proxy":
        credentials = read_credentials(folder)
        user = credentials.access_key.replace(":", "_")
        return common + PROXY.format(user=user, secret_key=credentials.secret_key)
    return common + STORAGE.format(server=server)


SWIFT = """\
[swift-hash]
swift_hash_path_prefix = ganray
swift_hash_path_suffix = ganray
[storage-policy:0]
name = default
default = yes
"""

# workers = 0: each server is one process that forks no others. Without a short bind_timeout a
# server whose port was taken meanwhile would keep trying for half a minute.
COMMON = """\
[DEFAULT]
swift_dir = {folder}/etc
devices = {folder}/data
bind_ip = {host}
bind_port = {port}
bind_timeout = 1
workers = 0
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
client_timeout = 120
node_timeout = 60
conn_timeout = 5
log_level = WARNING
[filter:healthcheck]
use = egg:swift#healthcheck
"""

# No updater runs that would repeat a bucket's missed update, so an upload waits for it long.
STORAGE = """\
[pipeline:main]
pipeline = healthcheck {server}-server
[app:{server}-server]
use = egg:swift#{server}
container_update_timeout = 30
"""

# With one replica a suppressed server is an outage, hence the error limit out of reach.
PROXY = """\
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats s3api tempauth copy slo \
versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_limit = 1000000
error_suppression_interval = 0
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
paste.filter_factory = ganray.object_store.cache:filter_factory
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
max_upload_part_num = 10000
[filter:tempauth]
use = egg:swift#tempauth
user_{user} = {secret_key} .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
"""
