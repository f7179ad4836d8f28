"""Try the cases of a full campaign, and make docs/reliability.md of the records.

python -m tests.faults                          every surface, from where its journal stands
python -m tests.faults flipped-run --cases 500  one surface
python -m tests.faults flipped-run --only 17    one case again, its folder is kept where it is a fault
python -m tests.faults --page                   the page alone
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from tests.faults import page
from tests.faults.campaign import Surface, carry_out, surfaces
from tests.faults.record import append, read_journal, write_summary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("surfaces", nargs="*", help="by default all")
    parser.add_argument("--cases", type=int, help="of each surface, by default as many as it asks for")
    parser.add_argument("--only", type=int, help="try this case alone and keep no record of it")
    parser.add_argument("--folder", type=Path, default=Path("build/faults"), help="journals, and what cases share")
    parser.add_argument(
        "--patience", type=float, default=1.0, help="what limits of time are multiplied by: a busy machine"
    )
    parser.add_argument("--list", action="store_true", help="names of surfaces and how many cases they ask for")
    parser.add_argument("--page", action="store_true", help="write docs/reliability.md from the records that are there")
    flags = parser.parse_args()
    flags.folder = flags.folder.resolve()  # cases work in folders of their own
    known = {surface.name: surface for surface in surfaces()}
    if unknown := [name for name in flags.surfaces if name not in known]:
        parser.error(f"unknown surface {unknown[0]!r}; known: {', '.join(known)}")
    chosen = [known[name] for name in flags.surfaces] or [*known.values()]
    chosen = [replace(surface, seconds=surface.seconds * flags.patience) for surface in chosen]
    if flags.list:
        print(*(f"{surface.cases:7,}  {surface.name}: {surface.title}" for surface in chosen), sep="\n")
        return 0
    if flags.only is not None:
        for surface in chosen:
            print(*carry_out(surface, [flags.only], flags.folder / surface.name), sep="\n")
        return 0
    faults = 0 if flags.page else sum(try_surface(surface, flags.cases, flags.folder) for surface in chosen)
    page.write()
    return bool(faults)


def try_surface(surface: Surface, cases: int | None, folder: Path) -> int:
    """Try what the journal of a surface lacks, write its record, and return how many faults it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / f"{surface.name}.jsonl"
    done = {tried.number for tried in read_journal(journal)}
    left = [number for number in range(surface.cases if cases is None else cases) if number not in done]
    for tried in carry_out(surface, left, folder / surface.name):
        append(journal, tried)
        if not tried.kind.promised:
            print(f"{surface.name} {tried.number}: {tried.what}: {tried.kind}: {tried.detail}", flush=True)
    cases_tried = read_journal(journal)
    write_summary(surface, cases_tried)
    faults = sum(not tried.kind.promised for tried in cases_tried)
    print(f"{surface.name}: {len(cases_tried):,} tried, {faults:,} faults", flush=True)
    return faults


if __name__ == "__main__":
    sys.exit(main())
