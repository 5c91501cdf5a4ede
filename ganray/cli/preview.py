"""`ganray preview`: arguments in, the place of a sheet of degraded images out."""

from collections.abc import Sequence

from ganray.cli.exit_codes import DONE
from ganray.cli.job import Job, print_help, read_config, wants_help
from ganray.cli.terminal import say
from ganray.pipelines.preview import PreviewConfig, run_preview
from ganray.report.amounts import counted

JOB = Job(
    name="preview",
    config=PreviewConfig,
    purpose="Show what a degradation does to images of an archive, before anything is trained.",
    example="ganray preview archive=my-photos degradation=film scale=2 output=sheet.png",
    sources={"archive": "include"},
    target="output",
    writes="file",
)


def preview(words: Sequence[str]) -> int:
    """`ganray preview [CONFIG.yaml] [key=value …]`."""
    if wants_help(words):
        return print_help(JOB)
    config, _ = read_config(JOB, words)
    result = run_preview(config)
    say(
        f"{counted(len(result.keys), 'image')}, {counted(config.draws, 'degradation')} of each: "
        f"{result.output}"
    )
    return DONE
