"""The page's contents: neighbours, near-duplicates, outliers, the map, and what it says of the images."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from torchhebb.cli import main
from torchhebb.explore import explore
from torchhebb.explore.layout import flat_map
from torchhebb.explore.neighbours import Neighbours, decorrelated, nearest, outliers


def contents(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


def test_the_nearest_are_those_of_all_pairs():
    features = torch.randn(50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = nearest(features, 4)
    for i in range(50):
        others = [j for j in range(50) if j != i]
        cosines = {j: torch.cosine_similarity(features[i], features[j], dim=0).item() for j in others}
        wanted = sorted(others, key=lambda j: -cosines[j])[:4]
        assert found.index[i].tolist() == wanted
        assert found.similarity[i].tolist() == pytest.approx([cosines[j] for j in wanted])


def test_duplicates_are_pairs_once_and_outliers_the_loneliest():
    index = torch.tensor([[1, 2], [0, 2], [0, 1], [0, 1]])
    similarity = torch.tensor([[0.95, 0.5], [0.95, 0.9], [0.5, 0.9], [0.1, 0.0]])
    found = Neighbours(index, similarity)
    assert [(i, j) for i, j, _ in found.duplicates(0.89, 9)] == [(0, 1), (1, 2)]
    assert found.duplicates(0.9, 1)[0][:2] == (0, 1)
    points = torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, 0.1], [5.0, 5.0]])
    assert outliers(points, 1, among=2) == [(3, pytest.approx(7.0, abs=0.05))]
    assert outliers(points[:1], 3) == []


@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 40])
@pytest.mark.parametrize("kind", ["tsne", "pca"])
def test_few_images_have_a_map_and_neighbours(count: int, kind: Any):
    features = torch.rand(count, 30, generator=torch.Generator().manual_seed(0))
    points = flat_map(features, kind)
    assert points.shape == (count, 2) and points.isfinite().all() and points.abs().max() <= 1
    assert nearest(decorrelated(features), 12).index.shape == (count, min(12, count - 1))
    same = torch.ones(count, 30)
    assert flat_map(same, "pca").isfinite().all() and decorrelated(same).isfinite().all()


def test_a_map_is_the_same_every_time():
    features = torch.rand(30, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(flat_map(features), flat_map(features))


def test_a_page_finds_the_duplicate_and_the_outlier(pictures: Path, weights: Path, tmp_path: Path):
    page = explore(weights, f"folder:{pictures}", tmp_path / "page.html")
    data = contents(page)
    names = [Path(name).name for name in data["files"]]
    assert len(names) == 48 and len(data["thumbnails"]) == len(data["x"]) == 48
    assert [{names[i], names[j]} for i, j, _ in data["duplicates"]][0] == {"00.png", "copy.jpg"}
    first = names.index("00.png")
    assert names[data["near"][first][0]] == "copy.jpg"
    assert "black.png" in [names[i] for i, _ in data["outliers"][:5]]
    assert [data["names"][label] for label in data["labels"]] == [Path(name).parent.name for name in data["files"]]


def test_the_page_is_one_file_and_no_text_ends_a_script(pictures: Path, weights: Path, tmp_path: Path):
    page = explore(weights, f"folder:{pictures}", tmp_path / "page.html").read_text()
    assert "<img src=x onerror" not in page
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']?(https?:)?//", page)
    assert "default-src 'none'" in page


def test_of_many_images_some_are_shown_evenly(pictures: Path, weights: Path, tmp_path: Path):
    page = explore(weights, pictures, tmp_path / "page.html", most=10, kind="pca")
    data = contents(page)
    assert len(data["files"]) == 10 and set(data["labels"]) == {0, 1}
    assert "10 of 48 images, evenly over all" in page.read_text()


def test_one_image_is_enough(pictures: Path, weights: Path, tmp_path: Path):
    data = contents(explore(weights, pictures / "plain" / "00.png", tmp_path / "page.html"))
    assert data["near"] == [[]] and data["labels"] is None and not data["duplicates"]


def test_the_command(pictures: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "page.html"
    assert main(["explore", str(weights), f"folder:{pictures}", "--out", str(out), "--map", "pca"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out) and out.exists()
    for arguments, message in (
        (["explore"], "explore needs a run and images"),
        (["explore", str(weights)], "explore needs a run and images"),
        (["explore", str(weights), "folder:nowhere"], "no such folder"),
        (["explore", str(weights), str(pictures), "--most", "0"], "most must be at least 1, got 0"),
        (["explore", str(tmp_path), str(pictures)], "no such run folder or weights file"),
        (["explore", str(weights), str(pictures), "--out", str(out / "x.html"), "--map", "pca"], "cannot write"),
    ):
        assert main(arguments) == 2
        assert message in capsys.readouterr().err


def test_unreadable_images_are_left_out_and_counted(weights: Path, tmp_path: Path):
    for number in range(4):
        Image.fromarray(np.full((9, 9, 3), 60 * number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_text("junk")
    page = explore(weights, tmp_path, tmp_path / "page.html", skip_unreadable=True)
    assert len(contents(page)["files"]) == 4 and "1 could not be read and is left out" in page.read_text()
