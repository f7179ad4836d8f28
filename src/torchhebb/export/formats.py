"""The formats ONNX and torch.export: each writes a module with its metadata and runs the written file."""

import json
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from torchhebb.errors import UserError, need

METADATA = "torchhebb"
"""The name under which a file keeps its metadata, as JSON."""
INPUT = "pixels"


class Format(ABC):
    """A kind of file."""

    suffix: ClassVar[str]

    @abstractmethod
    def write(self, module: nn.Module, example: Tensor, output: str, metadata: Mapping[str, Any], path: Path) -> None:
        """Write the module, traced for any number of images, to a file."""

    @abstractmethod
    def open(self, path: Path) -> Callable[[Tensor], Tensor]:
        """The function of pixels that a file holds, computed as a user of the file would."""


class Onnx(Format):
    """ONNX, for any runtime."""

    suffix = ".onnx"

    def write(self, module: nn.Module, example: Tensor, output: str, metadata: Mapping[str, Any], path: Path) -> None:
        onnx = need("onnx", "writing ONNX")
        need("onnxscript", "writing ONNX")
        with _quiet():
            program = torch.onnx.export(
                _traced(module, example), (example,), input_names=[INPUT], output_names=[output], verbose=False
            )
        assert program is not None
        model = program.model_proto
        batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
        for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
            for side in value.type.tensor_type.shape.dim:
                if side.dim_param == batch:
                    side.dim_param = "batch"
        del model.metadata_props[:]
        for node in model.graph.node:  # where in the sources it comes from, which no runtime reads
            del node.metadata_props[:]
        onnx.helper.set_model_props(model, {METADATA: json.dumps(metadata), "preprocessing": metadata["preprocessing"]})
        model.doc_string = metadata["preprocessing"]
        model.producer_name = METADATA
        onnx.save(model, path)

    def open(self, path: Path) -> Callable[[Tensor], Tensor]:
        runtime = need("onnxruntime", "checking ONNX")
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

        def run(pixels: Tensor) -> Tensor:
            return torch.from_numpy(np.asarray(session.run(None, {INPUT: pixels.numpy()})[0]))

        return run


class TorchExport(Format):
    """torch.export's own format, for `torch.export.load`."""

    suffix = ".pt2"

    def write(self, module: nn.Module, example: Tensor, output: str, metadata: Mapping[str, Any], path: Path) -> None:
        with _quiet():
            torch.export.save(_traced(module, example), path, extra_files={f"{METADATA}.json": json.dumps(metadata)})

    def open(self, path: Path) -> Callable[[Tensor], Tensor]:
        with _quiet():
            loaded = torch.export.load(path).module()

        def run(pixels: Tensor) -> Tensor:
            with torch.no_grad():
                outputs: Tensor = loaded(pixels)
            return outputs

        return run


FORMATS: dict[str, Format] = {kind.suffix: kind for kind in (Onnx(), TorchExport())}


def format_of(path: Path) -> Format:
    """The format for the extension of a file name.  Raises UserError for an unknown one.

    >>> format_of(Path("model.onnx")).suffix
    '.onnx'
    """
    if path.suffix not in FORMATS:
        raise UserError(f"out must end in {' or '.join(FORMATS)}, got {path.name}")
    return FORMATS[path.suffix]


@torch.no_grad()
def _traced(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    batch = {0: torch.export.Dim("batch", min=1)}
    return torch.export.export(module, (example,), dynamic_shapes=(batch,))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says about packages that are not needed and its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
