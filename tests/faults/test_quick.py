"""The first cases of every surface, the records, and the page that is made of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults import page
from tests.faults.campaign import Surface, carry_out, surfaces
from tests.faults.record import read_summaries

PATIENCE = 5.0


@pytest.fixture(scope="module")
def prepared() -> dict[Callable[[Path], Any], Path]:
    """Where it lies what surfaces of the same preparation share."""
    return {}


@pytest.mark.parametrize("surface", [surface for surface in surfaces() if surface.quick], ids=lambda one: one.name)
def test_first_cases(surface: Surface, prepared: dict[Callable[[Path], Any], Path], tmp_path: Path) -> None:
    folder = prepared.setdefault(surface.prepare, tmp_path)
    # On a machine that others use as well, what is slow hangs not yet.
    patient = replace(surface, seconds=PATIENCE * surface.seconds)
    tried = list(carry_out(patient, range(surface.quick), folder))
    assert [case.number for case in tried] == [*range(surface.quick)]
    faults = [f"{case.number}: {case.what}: {case.kind}: {case.detail}" for case in tried if not case.kind.promised]
    assert not faults, "\n".join(faults)


def test_records_are_of_surfaces_that_exist() -> None:
    assert {record["surface"] for record in read_summaries()} <= {surface.name for surface in surfaces()}


def test_the_page_is_made_of_the_records() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.text(read_summaries()), "run python -m tests.faults --page"
