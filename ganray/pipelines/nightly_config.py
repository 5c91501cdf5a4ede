"""What the nightly job is told: a restoration, and when and how it ends."""

from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from ganray.pipelines.nightly_deadline import check_deadline
from ganray.pipelines.restore_config import RestoreConfig


class NightlyConfig(RestoreConfig):
    """The nightly job: a restoration that ends by a deadline, and tells of itself."""

    deadline: str = ""
    """When the run has to be over: a time of day such as 06:00, or for how long it may last, such
    as 7h or 1h30m; empty for no deadline."""
    timezone: str = ""
    """Time zone of the deadline, such as Europe/Berlin; empty for that of the driver's machine."""
    margin: Annotated[float, Field(ge=0)] = 120.0
    """Seconds before the deadline from which on nothing is begun, so that what is in flight ends
    in time; at most a tenth of the time until the deadline."""
    overlap: Literal["stop", "wait"] = "stop"
    """What a night does that finds another run at work on its target: `stop` at once, or `wait`
    for its end, but not beyond the deadline."""
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    """Further passes in the same night over inputs that failed for a reason that may pass: a fault
    of the store, or lost workers."""
    webhook: str = ""
    """URL that gets the night's summary as JSON by one POST; `$NAME` takes it from the environment
    variable NAME, since such URLs are secrets."""

    @field_validator("deadline", mode="before")
    @classmethod
    def _is_a_deadline(cls, deadline: object) -> object:
        if isinstance(deadline, int):
            # YAML reads 22:00 as a number of base 60.
            raise ValueError(f"found {deadline}; in a YAML file write it in quotes: '22:00'")
        if isinstance(deadline, str) and deadline:
            check_deadline(deadline)
        return deadline

    @field_validator("timezone")
    @classmethod
    def _is_a_timezone(cls, timezone: str) -> str:
        try:
            if timezone:
                ZoneInfo(timezone)
        except (KeyError, OSError, ValueError) as error:
            raise ValueError(
                f"unknown time zone {timezone!r}; expected a name such as Europe/Berlin. Where the "
                "machine has no database of them: pip install tzdata"
            ) from error
        return timezone

    @model_validator(mode="after")
    def _has_a_webhook(self) -> "NightlyConfig":
        # Of the whole model: the fault of a field shows its value, and this one is a secret.
        if self.webhook and self.webhook[0] != "$" and not is_web_address(self.webhook):
            raise ValueError(
                "webhook: expected an http:// or https:// URL, or $NAME of a variable with one"
            )
        return self

    @property
    def restoration(self) -> RestoreConfig:
        """The part that is the restoration's: it stands beside the outputs, the rest does not."""
        return RestoreConfig.model_validate(
            {name: getattr(self, name) for name in RestoreConfig.model_fields}
        )


def is_web_address(url: str) -> bool:
    """Whether a URL is one that can be posted to."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
