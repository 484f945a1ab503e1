"""Commands: parse, call, print. Torch and OpenCV are imported by the command that needs them, so --help is instant."""

import click

from mer_search.cli.bench import bench
from mer_search.cli.confirm import compare, confirm
from mer_search.cli.data import data
from mer_search.cli.networks import evaluate, export, predict, presets, reproduce
from mer_search.cli.options import Commands
from mer_search.cli.scores import score, subjects, verify
from mer_search.cli.search import dashboard, report, run, status, study

COMMANDS = (
    run,
    confirm,
    compare,
    status,
    report,
    dashboard,
    verify,
    predict,
    export,
    presets,
    reproduce,
    evaluate,
    score,
    data,
    study,
    subjects,
    bench,
)


@click.group(
    cls=Commands,
    commands={command.name: command for command in COMMANDS},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="mer-search")
def main() -> None:
    """Find networks for micro-expression recognition, and say honestly how good they are.

    \b
    Start:   mer-search run                  search, on synthetic clips if --data is not given
             mer-search confirm              the best trial, on all subjects, with fresh seeds
             mer-search report               what was found, as a page
             mer-search dashboard            look at the study
    """
