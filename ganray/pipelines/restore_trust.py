"""How far a restoration is to be trusted: the part of its report that shows the trust figures."""

from collections.abc import Iterator

import numpy as np

from ganray.pipelines.restore_config import RestoreConfig, TrustConfig
from ganray.pipelines.restore_findings import FINE_BINS, Findings
from ganray.report.amounts import counted, number
from ganray.report.charts import Chart, Charts, Mark, histogram
from ganray.report.page import Part, Section
from ganray.report.parts import Facts

NUM_BARS = 32
SHOWN_SHARE = 0.995
"""Of the values of a histogram: a single outlier would hide all others."""

TRUST_FIGURES = {
    "consistency": (
        "Consistency error",
        "mean absolute difference, 0 to 1",
    ),
    "colour_drift": ("Colour drift", "largest difference of a band's means, 0 to 1"),
    "clipped": ("Clipped values", "fraction of values cut at black or white"),
    "seam_error": ("Seam error", "largest difference between tiled and whole, 0 to 1"),
}


def trust_section(config: RestoreConfig, findings: Findings) -> Iterator[Section]:
    """The section of the trust figures, if any was measured."""
    charts, facts = [], []
    for name, (title, label) in TRUST_FIGURES.items():
        fine = findings.fine.get(name)
        if fine is None or not fine.sum():
            facts.append((title, "not measured"))
        elif np.count_nonzero(fine) == 1:
            bin_number = int(fine.argmax())
            low, high = number(bin_number / FINE_BINS), number((bin_number + 1) / FINE_BINS)
            facts.append(
                (
                    title,
                    f"between {low} and {high} in all" if bin_number else f"below {high} in all",
                )
            )
        else:
            limit = _limit(config.trust, name)
            charts.append(_histogram(title, label, fine, findings.beyond[name], limit))
    if not charts and not facts:
        return
    parts: list[Part] = [Charts(tuple(charts))] if charts else []
    if findings.num_restored and facts:
        parts.append(Facts(tuple(facts)))
    if parts and findings.num_restored:
        yield Section(
            "How far to trust it",
            tuple(parts),
            lead=f"Over {counted(findings.num_restored, 'input')} restored with this generator and "
            "these settings, by this run and earlier ones. None of these figures knows what the "
            "original looked like: they say how far a restoration departs from its input.",
        )


def _limit(trust: TrustConfig, name: str) -> float:
    limits: dict[str, float] = {
        "consistency": trust.max_consistency,
        "colour_drift": trust.max_colour_drift,
        "clipped": trust.max_clipped,
        "seam_error": trust.max_seam_error,
    }
    return limits[name]


def _histogram(title: str, label: str, fine: np.ndarray, beyond: int, limit: float) -> Chart:
    """A few bars over most of the values, whose number beyond them the title says."""
    cumulated = fine.cumsum()
    needed = int(np.searchsorted(cumulated, SHOWN_SHARE * cumulated[-1])) + 1
    first = int(np.flatnonzero(fine)[0])
    first = 0 if first < needed / 2 else first
    if limit < 1 and limit * FINE_BINS < 2 * needed:
        needed = max(needed, int(limit * FINE_BINS) + 1)
    each = max(1, -(-(needed - first) // NUM_BARS))
    num_bars = -(-(needed - first) // each)
    stop = min(FINE_BINS, first + num_bars * each)
    padded = np.pad(fine[first:stop], (0, first + num_bars * each - stop))
    counts = padded.reshape(num_bars, each).sum(1)
    edges = (first + each * np.arange(num_bars + 1)) / FINE_BINS
    num_more = int(cumulated[-1] - counts.sum()) + beyond
    more = f" ({num_more:,} beyond {number(edges[-1])})" if num_more else ""
    marks = [Mark(limit, f"limit {limit:g}")] if limit < 1 else []
    return histogram(title + more, label, edges, counts, marks)
