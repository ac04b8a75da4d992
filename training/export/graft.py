"""Scorers' graphs with a correction that labels ask for, before p-value and verdict."""

from __future__ import annotations

from typing import Any

import onnx
import torch
from torch import Tensor, nn

from ...runtime import graph
from .constants import Constants, store
from .graphs import name_outputs, p_value, refuse_unsound, strip, to_onnx
from .verdict import Verdict

_REPLACED = (graph.SCORE, graph.P_VALUE, graph.IS_ANOMALY)

_OLD_SCORE = "score_before_labels"
"""What `graft` replaces, and what it calls the score that it leads into the correction."""


class Finetuned(nn.Module):
    """What replaces the end of a scorer's graph: the score is corrected before it becomes a p-value and a verdict.

    Parameters
    ----------
    correction : inputs and their scores to corrected scores
    verdict : of inputs, corrected scores and the threshold
    """

    def __init__(self, correction: nn.Module, verdict: Verdict) -> None:
        super().__init__()
        self.correction, self.verdict = correction, verdict

    def forward(
        self, x: Tensor, score: Tensor, threshold: Tensor, knots: Tensor, inverse_widths: Tensor, log_steps: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        corrected = self.correction(x, score)
        return corrected, p_value(corrected, knots, inverse_widths, log_steps), self.verdict(x, corrected, threshold)


def graft(
    scorer: onnx.ModelProto, correction: nn.Module, constants: Constants, x: Tensor, verdict: Verdict
) -> onnx.ModelProto:
    """A scorer's graph with its score corrected, as `Finetuned` has it; `x` is an example of two inputs.

    The names of outputs stay. What led from the old score to the old p-value and verdict goes.
    """
    arrays = constants.arrays()
    example = [torch.from_numpy(array) for array in arrays.values()]
    axes: dict[str, Any] = {graph.X: {0: "batch"}, graph.SCORE: {0: "batch"}, graph.THRESHOLD: None}
    axes |= {name: {0: "knots"} for name in (graph.KNOTS, graph.INVERSE_WIDTHS, graph.LOG_STEPS)}
    inputs = (graph.X, _OLD_SCORE, *arrays)
    new = to_onnx(Finetuned(correction, verdict), (x, torch.zeros(2), *example), axes, inputs, _REPLACED)
    # Names inside a graph must be unique: those of the new end get a prefix, but for what both share.
    new = onnx.compose.add_prefix(new, "finetuned.", rename_inputs=False, rename_outputs=False)
    outputs = [output.name for output in scorer.graph.output]
    kept = [name for name in outputs if name not in _REPLACED[1:]]
    # The noise, where there is any, stays in the graph as it is.
    base = onnx.utils.Extractor(scorer).extract_model([graph.X], kept)
    _rename(base.graph, graph.SCORE, _OLD_SCORE)
    ends = {output.name: output for part in (base, new) for output in part.graph.output}
    merged = onnx.ModelProto()
    merged.CopyFrom(base)
    main = merged.graph
    main.name = scorer.graph.name
    main.node.extend(new.graph.node)
    main.initializer.extend(new.graph.initializer)
    del main.output[:]
    main.output.extend(ends[name] for name in outputs)
    store(merged, constants)
    strip(merged)
    name_outputs(merged)
    onnx.checker.check_model(merged, full_check=True)
    refuse_unsound(merged)
    return merged


def _rename(main: onnx.GraphProto, old: str, new: str) -> None:
    for node in main.node:
        node.name = new if node.name == old else node.name
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    for item in main.output:
        item.name = new if item.name == old else item.name
