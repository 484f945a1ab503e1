"""mer-search itself, which writes down every epoch that was trained, and which process was given which fold.

    python benchmarks/spied.py LOG run --study small.toml ...

kill_campaign.py starts it; it imports no more than the command does.
"""

import os
import sys

from mer_search.cli import main
from mer_search.config import digest
from mer_search.engine.local import LocalExecutor
from mer_search.engine.task import Failed, Finished, Progress, Task
from mer_search.search.scheduler import Job


def spy(path: str) -> None:
    send, poll, hear = LocalExecutor._send, LocalExecutor.poll, Job.hear
    log = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)

    def note(task, what):
        os.write(log, f"{digest(task.run)} {task.seed} {task.subject} {what}\n".encode())

    def sent(self, slot, task):
        send(self, slot, task)
        if isinstance(task, Task):
            note(task, f"by {slot.process.pid}")

    def polled(self, *given):
        os.write(log, b"- - - poll\n")
        return poll(self, *given)

    def heard(self, event):
        if isinstance(event, Progress):
            note(event.task, event.epoch.epoch)
        if isinstance(event, Failed) and event.error is None:
            note(event.task, "died")
        if isinstance(event, Finished):
            note(event.task, "ended")
        hear(self, event)

    LocalExecutor._send, LocalExecutor.poll, Job.hear = sent, polled, heard


if __name__ == "__main__":
    spy(sys.argv[1])
    main(sys.argv[2:], prog_name="mer-search")
