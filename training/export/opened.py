"""Scorers' graphs opened at the code, which then is one's own choice. Without torch, for `evaluate`."""

from __future__ import annotations

import numpy as np
import onnx

from ...runtime import graph


def open_at_code(scorer: onnx.ModelProto) -> onnx.ModelProto:
    """A scorer that takes the code to decode as its input `latent`, of which `reconstruction_error` then is.

    Where the error is a mean over several noise points they are all put at 0, so that this is its value at the code.
    """
    opened = onnx.ModelProto()
    opened.CopyFrom(scorer)
    main = opened.graph
    [code] = [output for output in main.output if output.name == graph.LATENT]
    for node in main.node:
        node.output[:] = ["code_of_x" if name == graph.LATENT else name for name in node.output]
    main.output.remove(code)
    main.input.append(code)
    for tensor in main.initializer:
        if tensor.name == graph.NOISE:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(tensor.dims, np.float32), graph.NOISE))
    return opened
