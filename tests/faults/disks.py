"""Disks that are full, read-only, failing or gone, files that cannot be read, two processes in one place."""

import errno
import os
import pickle
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults.campaign import Case, Kind, Outcome, Surface
from tests.faults.command import Said, refusal
from tests.faults.damaged_project import difference, judged
from tests.faults.killer import FailingDisk, Killer, Remover, in_process
from tests.faults.kills import TASKS, must, spoken, undisturbed
from tests.faults.power import give_up_power
from tests.faults.project import COMMANDS, Project, make_project

ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


def draw_failing(project: Project, random: random.Random, folder: Path) -> Case:
    """A task whose disk fails from some step of writing on."""
    name = random.choice(sorted(TASKS))
    moment, part = random.randint(1, undisturbed(project, name).moments), random.choice((0.0, 0.5))
    if random.random() < 0.2:
        place = project.work / random.choice(("run", "store", "own", "reproduced", "search"))
        return Case(
            f"{name}: {place.name} is gone from step {moment} on",
            partial(outcome, project, name, partial(Remover, moment, part, place), may_lose=True),
            "a folder that vanishes",
        )
    error = random.choice(ERRORS)
    return Case(
        f"{name}: {os.strerror(error)} from step {moment} on",
        partial(outcome, project, name, partial(FailingDisk, moment, part, error)),
        os.strerror(error).lower(),
    )


def outcome(project: Project, name: str, make: Callable[[], Killer], *, may_lose: bool = False) -> Outcome:
    """A task on a failing disk, and again on a whole one."""
    task, known = TASKS[name], undisturbed(project, name)
    task.begin(project)

    def fail() -> Said:
        make().install()
        return spoken(task, project)

    said = heard(fail, project.folder)
    if isinstance(said, Outcome):
        return said
    first = None if said.code == 0 else refusal(said)
    if first is not None and not first.kind.promised:
        return first
    if may_lose:
        task.begin(project)  # what vanished does not come back by itself
    code, words = in_process(partial(must, task, project), project.folder)
    if code != 0:
        return Outcome(Kind.TRACEBACK, f"going on ended with exit code {code}: {words[-600:]}")
    found = task.result(project)
    if found != known.result:
        return Outcome(Kind.DIFFERENCE, difference(known.result, found))
    return first or Outcome(Kind.RIGHT, "it did without")


def heard(call: Callable[[], Said], folder: Path) -> Said | Outcome:
    """What a command says in a process of its own, or the outcome where it ends without a word."""
    path = folder / "said"
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)  # before the disk fails

    def work() -> None:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            pickle.dump(call(), file)

    code, words = in_process(work, folder)
    os.close(descriptor)
    if code != 0:
        return Outcome(Kind.TRACEBACK, f"exit code {code}: {words[-600:]}")
    return pickle.loads(path.read_bytes())


def draw_unreadable(project: Project, random: random.Random, folder: Path) -> Case:
    """A command that finds something else in place of a file that it reads."""
    name = random.choice(sorted(COMMANDS))
    place = random.choice([path for path in project.known(name).reads if "photos/" not in path])
    project.restore()
    kind = random.choice(sorted(INSTEAD))
    INSTEAD[kind](project.work / place)
    words = f"{' '.join(COMMANDS[name].arguments)}: {place} is {kind}"
    return Case(words, partial(read, project, name), kind)


def _no_permission(path: Path) -> None:
    path.chmod(0)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


INSTEAD: dict[str, Callable[[Path], None]] = {
    "a file that may not be read": _no_permission,
    "a folder": _folder,
    "a link to itself": _loop,
    "a link to nowhere": _dangling,
    "a pipe": _pipe,
}


def read(project: Project, name: str) -> Outcome:
    """The outcome of a command of somebody who is not root."""
    give_up_power()
    return judged(project, name, project.say(*COMMANDS[name].arguments))


def draw_full(project: Project, random: random.Random, folder: Path) -> Case:
    """A task on a small file system of its own; the real thing where mounting is permitted."""
    name = random.choice(sorted(name for name in TASKS if "SoftHebb" not in name and name != "reproduce"))
    known = undisturbed(project, name)
    room = random.randrange(0, 300)
    return Case(
        f"{name}: a disk with room for {room} KiB more", partial(on_small_disk, project, name, known, room), name
    )


def on_small_disk(project: Project, name: str, known: Any, room: int) -> Outcome:
    task = TASKS[name]
    task.begin(project)
    held = project.folder / "held"
    shutil.rmtree(held, ignore_errors=True)
    shutil.copytree(project.work, held)
    used = sum((path.stat().st_size + 4095) // 4096 * 4 + 4 for path in held.rglob("*"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={used + room}k", "tmpfs", str(project.work)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        return Outcome(Kind.RIGHT, "not tried: mounting is not permitted")
    try:
        try:
            shutil.copytree(held, project.work, dirs_exist_ok=True)
        except OSError:
            return Outcome(Kind.RIGHT, "not tried: the project itself does not fit")
        said = heard(partial(spoken, task, project), project.folder)
        if isinstance(said, Outcome):
            return said
        first = None if said.code == 0 else refusal(said)
        if first is not None and not first.kind.promised:
            return first
        subprocess.run(["mount", "-o", "remount,size=1g", str(project.work)], check=True)
        code, words = in_process(partial(must, task, project), project.folder)
        if code != 0:
            return Outcome(Kind.TRACEBACK, f"with room again it ended with exit code {code}: {words[-600:]}")
        found = task.result(project)
        return (
            first or Outcome(Kind.RIGHT)
            if found == known.result
            else Outcome(Kind.DIFFERENCE, difference(known.result, found))
        )
    finally:
        subprocess.run(["umount", "-l", str(project.work)], check=True)


def draw_two(project: Project, random: random.Random, folder: Path) -> Case:
    """The same command twice at once."""
    name = random.choice(sorted(TASKS))
    known = undisturbed(project, name)
    delay = random.choice((0.0, random.uniform(0.0, known.seconds)))
    return Case(f"{name}: twice, {delay:.2f} s apart", partial(twice, project, name, known, delay), name)


def twice(project: Project, name: str, known: Any, delay: float) -> Outcome:
    task = TASKS[name]
    task.begin(project)
    answers: dict[int, Said | Outcome] = {}
    for number in range(2):
        (project.folder / f"part-{number}").mkdir(exist_ok=True)

    def one(number: int) -> None:
        answers[number] = heard(partial(spoken, task, project), project.folder / f"part-{number}")

    other = threading.Thread(target=one, args=(1,))
    other.start()
    time.sleep(delay)
    one(0)
    other.join()
    said = [answers[0], answers[1]]
    for one_said in said:
        if isinstance(one_said, Outcome):
            return one_said
        if one_said.code != 0 and not (refused := refusal(one_said)).kind.promised:
            return refused
    code, words = in_process(partial(must, task, project), project.folder)
    if code != 0:
        return Outcome(Kind.TRACEBACK, f"a third time it ended with exit code {code}: {words[-600:]}")
    found = task.result(project)
    if found != known.result:
        return Outcome(Kind.DIFFERENCE, difference(known.result, found))
    lines = [refusal(one_said).detail for one_said in said if isinstance(one_said, Said) and one_said.code != 0]
    return Outcome(Kind.LINE, lines[0]) if lines else Outcome(Kind.RIGHT)


SURFACES = (
    Surface(
        "failing-disk",
        "Disks",
        "A disk that is full, over its quota, read-only or broken from a step of writing on, or a folder that "
        "vanishes; then the same command on a whole disk. Right: a command that does without, and afterwards what an "
        "undisturbed one leaves, bit for bit.",
        make_project,
        draw_failing,
        cases=200,
        quick=1,
        seconds=120.0,
        isolated=True,
    ),
    Surface(
        "small-disk",
        "Disks",
        "A file system of its own with little room, where mounting is permitted; then the same command with more room.",
        make_project,
        draw_full,
        cases=60,
        quick=0,
        seconds=120.0,
        isolated=True,
    ),
    Surface(
        "unreadable-file",
        "Disks",
        "Something else in place of a file that a command reads.",
        make_project,
        draw_unreadable,
        cases=200,
        quick=1,
        isolated=True,
    ),
    Surface(
        "two-at-once",
        "Disks",
        "The same command twice at once, in one folder and one store. Right: both give the result, or one says that "
        "another process is at work.",
        make_project,
        draw_two,
        cases=60,
        quick=1,
        seconds=120.0,
        isolated=True,
    ),
)
