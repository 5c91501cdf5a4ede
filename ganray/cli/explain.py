"""`ganray explain`: one image in, a page of maps and their figures out."""

from collections.abc import Sequence

from ganray.cli.exit_codes import DONE
from ganray.cli.job import Job, print_help, read_config, wants_help
from ganray.cli.terminal import say
from ganray.pipelines.explain import ExplainConfig, explain_image

JOB = Job(
    name="explain",
    config=ExplainConfig,
    purpose="Show where a generator invents detail: one image restored, with maps over it.",
    example="ganray explain image=my-photos/image-000.png generator=photo-x2",
    sources={},
    target="output",
    writes="file",
)


def explain(words: Sequence[str]) -> int:
    """`ganray explain IMAGE [key=value …]`."""
    if wants_help(words):
        return print_help(JOB)
    named = [
        f"image={word}" if "=" not in word and i == 0 else word for i, word in enumerate(words)
    ]
    config, _ = read_config(JOB, named)
    found = explain_image(config)
    for name, value in found.figures.items():
        say(f"{name:<28}{value:.4g}")
    for name, meaning in found.meanings.items():
        say(f"{name}: {meaning}")
    say(f"to look at: {found.output}")
    return DONE
