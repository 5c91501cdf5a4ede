"""The promote job: candidate and incumbent → evaluation → gate → version → pointer.

The claim on the name is held from the look at the incumbent to the change of the pointer, so that
no candidate is promoted over another than it was measured against.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ganray.claim import Claim, claimed
from ganray.errors import RunFailedError
from ganray.models.checkpoint import Checkpoint, decode_checkpoint, read_checkpoint
from ganray.pipelines.archives import absolute_generator, absolute_uri
from ganray.pipelines.evaluate import Progress, run_evaluation
from ganray.pipelines.evaluate_config import BICUBIC
from ganray.pipelines.gate import Contest, Verdict, judge
from ganray.pipelines.gate_metrics import choose_fidelity, choose_perceptual
from ganray.pipelines.promote_config import PromoteConfig
from ganray.registry import (
    Change,
    Figures,
    add_version,
    choose_rollback,
    find_incumbent,
    locate,
    make_current,
    open_name,
    parse_reference,
    read_pointer,
    version_uri,
)
from ganray.storage import Store, open_store

GATE_KEY = "gate.json"

Report = Callable[[Progress], None]
"""Gets how far the evaluation is."""


@dataclass(frozen=True)
class Candidate:
    """A generator that asks for its promotion: where it is, its bytes, what they are."""

    uri: str
    data: bytes
    checkpoint: Checkpoint


@dataclass(frozen=True)
class PromoteResult:
    """What became of a candidate. `version` is current now; it is the incumbent's, or none, if
    the candidate was refused. `verdicts` are empty where it was current already."""

    candidate: str
    name: str
    version: str
    incumbent: str
    digest: str
    verdicts: tuple[Verdict, ...] = ()

    @property
    def is_refused(self) -> bool:
        return not all(verdict.passed for verdict in self.verdicts)

    @property
    def was_current(self) -> bool:
        return not self.verdicts

    @property
    def reasons(self) -> list[str]:
        """Why it was refused."""
        return [str(verdict) for verdict in self.verdicts if not verdict.passed]

    def as_dict(self) -> dict[str, Any]:
        told = asdict(self)
        del told["verdicts"]
        rules = [
            asdict(verdict) | {"margin": verdict.margin, "expected": verdict.expected}
            for verdict in self.verdicts
        ]
        return told | {"refused": self.is_refused, "rules": rules}


def run_promotion(config: PromoteConfig, report: Report) -> PromoteResult:
    """Promote the candidate if it passes the gate; nothing is promoted twice.

    Raises GanrayError: ClaimedError while another promotion under the name is at work.
    """
    config, candidate = prepare_candidate(config)
    store = open_name(config.registry, config.name)
    with claimed(store, _new_run_id()) as claim:
        result = _contend(config, candidate, store, claim, report)
    if result.was_current:
        # Nothing was measured: what its promotion was decided by stays.
        return result
    content = json.dumps(result.as_dict(), indent=2, allow_nan=False) + "\n"
    open_store(config.output).write(GATE_KEY, content.encode())
    return result


def prepare_candidate(config: PromoteConfig) -> tuple[PromoteConfig, Candidate]:
    """The configuration with absolute URIs, and the generator. Raises GanrayError."""
    registry = absolute_uri(config.registry)
    uri = absolute_generator(config.candidate, registry)
    config = config.model_copy(update={"registry": registry, "output": absolute_uri(config.output)})
    data = read_checkpoint(uri)
    return config, Candidate(uri, data, decode_checkpoint(data, uri))


def _contend(
    config: PromoteConfig, candidate: Candidate, store: Store, claim: Claim, report: Report
) -> PromoteResult:
    checkpoint, facts = candidate.checkpoint, (config.candidate, config.name)
    pointer, incumbent = find_incumbent(store, checkpoint.scale, checkpoint.bands)
    digest, before = checkpoint.digest, incumbent.version if incumbent else ""
    if incumbent and incumbent.digest == digest:
        return PromoteResult(*facts, before, before, digest)
    verdicts, figures = _measure(config, candidate, store, before, report)
    result = PromoteResult(*facts, before, before, digest, verdicts)
    if result.is_refused:
        return result
    if read_checkpoint(candidate.uri) != candidate.data:
        raise RunFailedError(
            f"{config.candidate} was replaced while it was measured; nothing was promoted. Run "
            "again"
        )
    now = _now()
    card = add_version(store, checkpoint, candidate.data, time=now, figures=figures)
    change = Change(card.version, "promoted", now, figures=figures)
    make_current(store, claim, pointer, change)
    return PromoteResult(*facts, card.version, before, digest, verdicts)


def _measure(
    config: PromoteConfig, candidate: Candidate, store: Store, before: str, report: Report
) -> tuple[tuple[Verdict, ...], Figures]:
    """The verdicts on the candidate, and the means they come from."""
    incumbent = version_uri(store, before) if before else ""
    checkpoint = candidate.checkpoint
    fidelity = choose_fidelity(checkpoint.bands)
    perceptual = choose_perceptual(config.gate.perceptual, config.weights, checkpoint)
    contest = Contest(candidate.uri, incumbent, fidelity, perceptual)
    generators = tuple(filter(None, (candidate.uri, incumbent)))
    measured = run_evaluation(config.measuring(generators, contest.metrics), report)
    num_pairs, num_failed = measured.num_pairs, measured.num_failed
    contest = replace(contest, num_images=num_pairs, num_failed=num_failed)
    verdicts = judge(measured.summaries, contest, config.gate)
    labels = {"candidate": candidate.uri, "incumbent": incumbent, "bicubic": BICUBIC}
    figures: Figures = {
        label: {metric: measured.summaries[name][metric].mean for metric in contest.metrics}
        for label, name in labels.items()
        if name
    }
    return verdicts, figures


def roll_back(registry: str, reference: str, reason: str = "") -> Change:
    """Make the version before the current one, or the one that is named, current again.

    Raises ClaimedError, ConfigError or RegistryError; the pointer stays as it was then.
    """
    registry, wanted = absolute_uri(registry), parse_reference(reference)
    store, _ = locate(registry, wanted)
    with claimed(store, _new_run_id()) as claim:
        pointer = read_pointer(store)
        target = choose_rollback(store, pointer, wanted.version)
        change = Change(target, "rolled_back", _now(), reason=reason)
        return make_current(store, claim, pointer, change).history[-1]


def _new_run_id() -> str:
    return f"promote-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
