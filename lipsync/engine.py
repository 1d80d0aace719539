"""What runs the mouth network: OpenVINO where it is installed, else OpenCV's own DNN; one thread, fixed shapes.

They agree within 1e-6 in 32 bits, within 1/255 in 16 bits; docs/decisions/0016 has the times.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from lipsync.conditioning import Floats
from lipsync.errors import ModelMissing


class Engine(Protocol):
    """A network with named inputs and one output."""

    def run(self, inputs: dict[str, Floats]) -> Floats: ...


class OpenCvEngine:
    """Nothing to install beside OpenCV."""

    def __init__(self, weights: Path) -> None:
        self._net = cv2.dnn.readNetFromONNX(str(weights), cv2.dnn.ENGINE_CLASSIC)

    def run(self, inputs: dict[str, Floats]) -> Floats:
        for name, value in inputs.items():
            self._net.setInput(value, name)
        return np.asarray(self._net.forward(), np.float32)


class OpenVinoEngine:
    """Several times faster; it takes 16-bit arithmetic by itself where the processor has it."""

    def __init__(
        self, weights: Path, *, exact: bool = False, batch: tuple[str, int] | None = None, threads: int = 1
    ) -> None:
        """`exact` keeps to 32 bits; `batch` fixes how many of an input are given at once, where the file leaves it."""
        # with this name blocked, OpenVINO's import sends nothing to anybody
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino  # noqa: PLC0415

        core = openvino.Core()
        settings: dict[str, int | bool | str] = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        if exact:
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        model = core.read_model(str(weights))
        if batch:
            # 16- and 8-bit kernels are chosen for fixed shapes alone
            model.reshape({batch[0]: [batch[1], *list(model.input(batch[0]).partial_shape)[1:]]})
        compiled = core.compile_model(model, "CPU", settings)
        self._request: Any = compiled.create_infer_request()

    def run(self, inputs: dict[str, Floats]) -> Floats:
        return np.array(next(iter(self._request.infer(inputs).values())), np.float32)


def engine_of(weights: Path, *, exact: bool = False, batch: tuple[str, int] | None = None, threads: int = 1) -> Engine:
    """Return the fastest engine that is installed, with the weights loaded. Raises ModelMissing."""
    if not weights.is_file():
        raise ModelMissing(weights.name)
    if importlib.util.find_spec("openvino"):
        return OpenVinoEngine(weights, exact=exact, batch=batch, threads=threads)
    return OpenCvEngine(weights)
