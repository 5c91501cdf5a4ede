"""`ganray compare`: a few files of one picture in, a page with sliders out."""

import argparse
from collections.abc import Sequence

from ganray.cli.exit_codes import DONE
from ganray.cli.terminal import say
from ganray.pipelines.compare import write_comparison
from ganray.report.amounts import counted

DEFAULT_OUTPUT = "comparison.html"


def compare(words: Sequence[str]) -> int:
    """`ganray compare A B [C …] [--output page.html]`."""
    parser = argparse.ArgumentParser(
        "ganray compare", description="a page on which files of one picture are compared"
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="images of any family, or URIs")
    parser.add_argument(
        "--output", default=DEFAULT_OUTPUT, help=f"the page; by default {DEFAULT_OUTPUT}"
    )
    options = parser.parse_args(words)
    write_comparison(options.files, options.output)
    say(f"{counted(len(options.files), 'file')} compared: {options.output}")
    return DONE
