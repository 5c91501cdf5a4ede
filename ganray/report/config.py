"""What a report shows of a run."""

from typing import Annotated

from pydantic import Field

from ganray.config import Section


class ReportConfig(Section):
    """The report of a run: `report.html`."""

    worst: Annotated[int, Field(ge=0, le=24)] = 4
    """Pictures with the largest consistency error that are shown before and after: of the run's
    own, and of earlier runs where these are fewer."""
    random: Annotated[int, Field(ge=0, le=24)] = 4
    """Pictures drawn at random that are shown before and after, of the run's own first too."""
    seconds: Annotated[float, Field(ge=0)] = 15.0
    """How long pictures are read for the report after the run has ended; those that are not
    ready by then are left out."""
