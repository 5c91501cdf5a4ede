"""Every error that ganray raises on purpose, under one parent.

A message says what was found, what was expected and what to do next. The command line
prints the message alone; anything that is not a `GanrayError` is a bug and keeps its
traceback.
"""


class GanrayError(Exception):
    """Parent of all errors that ganray raises on purpose."""


class ConfigError(GanrayError):
    """A configuration key, value or choice is wrong; nothing was started."""


class MissingExtraError(GanrayError):
    """An optional dependency is not installed; the message names the extra."""


class StorageError(GanrayError):
    """A store refused or failed after all retries."""


class NotFoundError(StorageError):
    """The bucket, folder or key does not exist."""


class AccessDeniedError(StorageError):
    """The credentials are missing, wrong, or lack the permission."""


class UnreachableError(StorageError):
    """The endpoint does not answer."""


class EmptyArchiveError(GanrayError):
    """An archive holds no input that matches."""


class CodecError(GanrayError):
    """An image cannot be read or written."""


class UndecodableError(CodecError):
    """The bytes are not a valid image."""


class UnsupportedImageError(CodecError):
    """A valid image whose contents ganray would not keep, refused by name."""


class TooLargeError(CodecError):
    """An image exceeds a configured limit."""


class CheckpointError(GanrayError):
    """A file is not a checkpoint of ganray, or is not the one expected."""


class DamagedError(CheckpointError):
    """A training state is not whole: truncated, or other bytes than were written."""


class RestorationError(GanrayError):
    """A generator gave a result that cannot be trusted."""


class LostWorkerError(RestorationError):
    """A worker was lost again and again while it was at one input."""


class DistrustedError(RestorationError):
    """A result departs from its input further than the configuration allows."""


class TrainingError(GanrayError):
    """Training cannot start or go on."""


class LostPeerError(TrainingError):
    """A worker cannot reach another one: it is gone, and training goes on without it."""


class ClaimedError(GanrayError):
    """Another run is at work on the same target."""


class RegistryError(GanrayError):
    """A registry holds no sound version where one was expected."""


class RunFailedError(GanrayError):
    """A run stopped before its end; what is done stays done."""


class ReportError(GanrayError):
    """A report cannot be made; what it is about is done and stays."""
