"""Commands that search, and look at studies and their files."""

import time
from contextlib import ExitStack, suppress
from itertools import takewhile
from pathlib import Path

import click

from mer_search.cli.options import PATH, Commands, Given, example, main, options, study_name
from mer_search.errors import UsageError
from mer_search.files import RANGES, shipped, toml_names, toml_text, write_whole
from mer_search.processes import warm_up


@main.command(epilog=example("mer-search run --study megc2019 --data ~/norm_u_v_os --trials 30"))
@click.option(
    "--study",
    "study_file",
    help="Study file (.toml) or the name of one that comes with the package.  [default: by the data and the device]",
)
@options("data task leave_out")
@click.option(
    "--trials",
    type=click.IntRange(*RANGES["trials"]),
    help="Trials in all, earlier calls counted in.  [default: the study file's, or as many as before if that is more]",
)
@options("storage")
@study_name("the study file's")
@options("device executor slots")
@click.option(
    "--in-flight",
    type=click.IntRange(*RANGES["in_flight"]),
    help="Trials begun before the first of them has ended.  [default: as before, else as many as keep the slots busy]",
)
@click.option("--from", "source", help="A study whose trials a new one begins with, as far as its space contains them.")
@click.option("--seed", type=click.IntRange(*RANGES["seed"]), help="Of the search.  [default: as before, else 0]")
@options("out yes")
def run(
    given: Given,
    study_file: str | None,
    trials: int | None,
    name: str | None,
    in_flight: int | None,
    source: str | None,
    seed: int | None,
) -> None:
    """Search: trials on the study's subjects until there are --trials of them. Run it again to go on; the name of a
    study that is there, in --study-name, is enough.

    With the same seed and --in-flight, a search is repeated exactly, on however many slots."""
    from mer_search.search import space
    from mer_search.search.storage import check_free, check_name, check_url, ended

    chosen = space.load(study_file) if study_file else None  # a wrong study file fails before PyTorch is loaded
    check_name((chosen.name if chosen else "default") if name is None else name)
    check_url(given.storage)
    check_free(given.storage)
    warm_up()
    from mer_search.engine.stop import polling
    from mer_search.report import costs, live, terminal
    from mer_search.report.trials import print_next, state_line, trials_table
    from mer_search.search.cost import search_cost
    from mer_search.search.progress import progress_of
    from mer_search.search.resume import start_changed
    from mer_search.search.session import open_session, search_of
    from mer_search.search.storage import TAKEN_FROM, find_study, open_storage

    began, where = time.monotonic(), given.where
    with ExitStack() as stack:
        stack.enter_context(polling())
        other = find_study(open_storage(given.storage), source) if source else None
        data = given.data or (Path(other.user_attrs["data"]) if other else None)
        with terminal.bars() as progress:
            search = search_of(
                chosen,
                name,
                data,
                given.folds,
                seed,
                given.out,
                given.storage,
                where.device,
                progress,
                lambda suits, reason: terminal.note(f"study: {suits} ({reason}; --study takes another)"),
            )
        costs.print_data(search.loaded)
        terminal.note(f"tuning {search.loaded.run.data.leave_out}s: {', '.join(search.subjects)}")
        with terminal.bars() as progress:
            progress("starting workers", 0, 1)
            session = stack.enter_context(open_session(search, given.storage, search.out.name, where, in_flight, other))
        study, scheduler, size = session.study, session.scheduler, session.executor.slots
        wanted = session.trials(trials)
        if trials and trials < ended(study):
            terminal.note(f"the study has {ended(study)} trials already, so that --trials {trials} adds none")
        if taken := study.user_attrs.get(TAKEN_FROM):
            terminal.note(f"trials taken over from {taken['study']}: {len(taken['trials'])}")
        if start_changed(search):
            terminal.note(
                "warning: [[start]] of the study file has changed, but a study's first trials are chosen when it is "
                "made; give another --study-name, or enqueue them with Optuna's study.enqueue_trial"
            )
        for sentence in search.file.without_effect(search.file.settings):
            terminal.note(f"warning: in [set], {sentence}")
        terminal.note(f"slots: {size}, trials in flight: {scheduler.in_flight} (--slots, --in-flight)")
        with terminal.bars() as progress:
            cost = search_cost(search, study, session.executor, wanted, scheduler.in_flight, progress)
            costs.print_cost(cost, terminal.plural(size, "slot"))
            given.allow(cost.seconds, progress)
        with live.Live(study, wanted, ended(study), search.out / "artifacts") as shown:
            for event in session.events(wanted, shown.preparing):
                shown.show(event)
        live.print_wasted(scheduler)
        live.print_left_out(search, study)
        terminal.show(trials_table(study))
        terminal.say(f"{state_line(progress_of(study))}; took {terminal.duration(time.monotonic() - began)}")
        print_next(given.storage, search.out.name, search.out)


@main.command(epilog=example("mer-search status --json"))
@options("storage name as_json")
def status(given: Given) -> None:
    """How far a study is, its best trials, why trials have no result, and whether its subjects rank trials as all do,
    if some are confirmed."""
    from mer_search.confirmation.folders import other_confirmations
    from mer_search.confirmation.proxy import proxy
    from mer_search.report import summaries, terminal, trials
    from mer_search.search.progress import progress_of

    opened = given.study()
    trusted = proxy(opened)
    facts = {**progress_of(opened), "proxy": trusted and trusted._asdict()}

    def show() -> None:
        if facts["best"]:
            terminal.show(trials.trials_table(opened))
        if facts["pareto_front"]:
            terminal.show(trials.front_table(facts))
        terminal.say(f"study {facts['study']}: {trials.state_line(facts)}")
        terminal.say(f"tuning {facts['leave_out']}s: {', '.join(facts['subjects'])}")
        for line in trials.reason_lines(facts):
            terminal.say(f"  {line}")
        if trusted:
            terminal.say(trials.proxy_line(trusted))
        if others := other_confirmations(opened):
            terminal.show(summaries.others_table(others))

    given.tell(facts, show)


@main.command(epilog=example("mer-search report"))
@options("trial storage name")
def report(given: Given) -> None:
    """Write what a study found as one page, which needs nothing else, and as Markdown, with its trials as CSV. Pictures
    of clips need the study's data; where it is gone, the page says so."""
    study = given.study()
    from mer_search.report import terminal
    from mer_search.report.page import write_study

    with terminal.bars() as progress:
        progress("writing the page", 0, 1)
        page = write_study(study, given.trial, progress)
    click.echo(page)


@main.command(epilog=example("mer-search dashboard --port 8081"))
@options("storage name")
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
def dashboard(given: Given, port: int, host: str) -> None:
    """Serve optuna-dashboard, with the study's pictures: to this machine alone, unless --host says otherwise."""
    from mer_search.engine.stop import polling
    from mer_search.report.dashboard import address, check_port, serve, server
    from mer_search.search.storage import find_study, open_storage, results

    opened = open_storage(given.storage)
    study = find_study(opened, given.name)
    check_port(host, port)
    if host != "localhost" and not host.startswith("127."):  # others than this machine's users may reach it
        click.echo(
            f"warning: the dashboard has no login: anyone who reaches {host}:{port} can read, change and delete "
            f"studies; without --host, an ssh tunnel reaches it: ssh -L {port}:127.0.0.1:{port} MACHINE",
            err=True,
        )
    with server(opened, results(study) / "artifacts", host, port) as listening:
        click.echo(f"{address(opened, study.study_name, host, port)}  (Ctrl-C stops it)")
        with suppress(KeyboardInterrupt), polling():  # there is nothing to go on with
            serve(listening)


@main.group(cls=Commands)
def study() -> None:
    """Look at the studies that come with this tool, or begin one of your own."""


@study.command(epilog=example("mer-search study show demo"))
@click.argument("name", required=False)
def show(name: str | None) -> None:
    """The text of a study, which comes with this tool under NAME or is a file; without NAME, which there are."""
    if name:
        click.echo(toml_text("study", shipped(), name).rstrip())
        return
    for each in toml_names(shipped()):
        click.echo(f"{each:14}{_told(toml_text('study', shipped(), each))}")


def _told(text: str) -> str:
    """What a study's first lines say of it."""
    lines = [line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("#"), text.splitlines())]
    return " ".join(lines)


@study.command(epilog=example("mer-search study new mine.toml --from megc2019"))
@click.argument("file", type=PATH)
@click.option("--from", "source", default="default", show_default=True, help="The study that is copied, or its file.")
def new(file: Path, source: str) -> None:
    """Write a study into FILE, to change: `mer-search run --study FILE` runs it. docs/study-file.md says what it may
    hold."""
    if file.exists():
        raise UsageError(f"{file} must be a new file, but is there; give another name")
    if file.suffix != ".toml":
        raise UsageError(f"{file} must end in .toml, as a study file does")
    text = toml_text("study", shipped(), source)
    write_whole(file, text)
    click.echo(f"{file}: a copy of {source}. {_told(text)}\nnext: mer-search run --study {file} --data FOLDER")
