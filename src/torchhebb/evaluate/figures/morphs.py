"""Figures of generated images, with the posterior of the layer and the class that the judge predicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from torchhebb.evaluate.evaluator import Figure
from torchhebb.evaluate.figures.text import plain
from torchhebb.evaluate.figures.tiles import show_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Colours that colour-blind people can distinguish (Okabe and Ito).
SOURCE, TARGET, REST = "#0072B2", "#D55E00", "#D9D9D9"
WORDS = {"bridge": "bridge", "blend": "blend of\nits two ends", "ascent": "posterior\nalone"}
LEGEND = "Bar: the layer's posterior, blue for the source class, orange for the target, grey for all others"


@dataclass(frozen=True, eq=False)
class Path:
    """Paths from one class to another.

    Args: images (B, steps, C, H, W); pair, source, target (B,), the number of the pair and its classes; posterior and
    judged (B, steps, classes), the probabilities of the layer and of the judge.
    """

    images: Tensor
    pair: Tensor
    source: Tensor
    target: Tensor
    posterior: Tensor
    judged: Tensor

    def lines(self) -> dict[str, list[list[float]]]:
        """The mean probability of both classes by pair and step: "judge source", "posterior target" and so on."""
        found = {}
        for who, values in {"judge": self.judged, "posterior": self.posterior}.items():
            for word, classes in {"source": self.source, "target": self.target}.items():
                of_class = values.gather(2, classes.view(-1, 1, 1).expand(-1, values.shape[1], 1))[:, :, 0]
                found[f"{who} {word}"] = [of_class[self.pair == pair].mean(0).tolist() for pair in self.pair.unique()]
        return found


def paths_figure(path: Path, classes: Sequence[str], shares: Sequence[float]) -> Figure:
    """One row per path, one column per step."""
    labels = [f"{plain(classes[a])} \u2192 {plain(classes[b])}" for a, b in _ends(path)]
    titles = [{0.0: "test image", 1.0: "target class"}.get(share, f"{share:.3g}") for share in shares]
    canvas = _canvas([(label, path, number) for number, label in enumerate(labels)], classes, titles)
    caption = (
        "Paths (bridges) from test images to another class, for the first image of each pair. Between the ends, the "
        "density of both classes is high. The bar is the layer's posterior of the source class (blue), the target "
        "class (orange) and all others (grey); below it, the class that the judge predicts, with its probability."
    )
    return Figure("paths", caption, canvas)


def controls_figure(paths: Mapping[str, Path], classes: Sequence[str], shares: Sequence[float]) -> Figure:
    """The first three bridges, each above what a blend of pixels and the posterior alone make of the same image."""
    numbers = range(min(3, len(paths["bridge"].images)))
    rows = [(WORDS[name], path, number) for number in numbers for name, path in paths.items()]
    caption = (
        "Bridges above their controls: the pixel-wise blend of the bridge's two ends, and the path that climbs the "
        "posterior of the target class alone and goes as far as bridges do on average."
    )
    return Figure("controls", caption, _canvas(rows, classes, [f"{share:.3g}" for share in shares]))


def samples_figure(images: Tensor, classes: Tensor, judged: Tensor, names: Sequence[str]) -> Figure:
    """Samples (B, C, H, W) from prototypes of one class each, one row per class."""
    from matplotlib.figure import Figure as Canvas

    rows = classes.unique().tolist()
    columns = int((classes == rows[0]).sum())
    canvas = Canvas(figsize=(0.8 * columns + 0.5, 0.85 * len(rows)), layout="constrained")
    grid = canvas.subplots(len(rows), columns, squeeze=False)
    for line, name in zip(grid, rows, strict=True):
        line[0].set_ylabel(plain(names[name]), fontsize=11)
        for axes, image, read in zip(line, images[classes == name], judged[classes == name].argmax(1), strict=True):
            show_image(axes, image)
            axes.set_frame_on(False)
            if read != name:
                axes.set_xlabel(f"judge: {plain(names[read])}", fontsize=7, color=TARGET)
    caption = (
        "Samples of each class: a point between two prototypes of the class, moved by one step to the weighted mean of "
        "its prototypes. The label below a sample is the class that the judge predicts, if it differs."
    )
    return Figure("samples", caption, canvas)


def _canvas(rows: Sequence[tuple[str, Path, int]], classes: Sequence[str], titles: Sequence[str]) -> "Canvas":
    """One row per (label, path, number of its image), one column per step."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(1.0 * len(titles) + 0.9, 1.28 * len(rows) + 0.4), layout="constrained")
    grid = canvas.subplots(len(rows), len(titles), squeeze=False)
    for line, (label, path, number) in zip(grid, rows, strict=True):
        source, target = _ends(path)[number]
        for step, axes in enumerate(line):
            image, posterior, judged = (
                path.images[number, step],
                path.posterior[number, step],
                path.judged[number, step],
            )
            show_image(axes, image)
            _bar(axes, image.shape[-2:], float(posterior[source]), float(posterior[target]))
            read = int(judged.argmax())
            says = f"{plain(classes[read])}  {100 * float(judged[read]):.0f} %"
            axes.set_xlabel(says, fontsize=7.5, color={source: SOURCE, target: TARGET}.get(read, "black"), labelpad=1)
        line[0].set_ylabel(label, fontsize=9)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=8)
    canvas.suptitle(f"{LEGEND}.  Below: the class that the judge predicts", fontsize=8)
    return canvas


def _bar(axes: "Axes", size: Sequence[int], source: float, target: float) -> None:
    """A bar under an image of `size` (H, W): source from the left, target from the right, the rest in between."""
    height, width = size
    thick = height / 10
    middle, left = height - 0.5 + thick, -0.5
    for start, share, colour in (
        (0.0, source, SOURCE),
        (source, 1 - source - target, REST),
        (1 - target, target, TARGET),
    ):
        axes.barh(middle, share * width, thick, left=left + start * width, color=colour, linewidth=0)
    axes.set(xlim=(left, width - 0.5), ylim=(middle + thick, -0.5), frame_on=False)


def _ends(path: Path) -> list[tuple[int, int]]:
    """Source and target of every image."""
    return list(zip(path.source.tolist(), path.target.tolist(), strict=True))
