"""A scorer with a correction grafted on: what of it changes, and what stays as it was."""

import numpy as np
import onnx
import pytest
import torch
from small_exports import CALIBRATION, CONFIGS, Exported, export, overridable
from torch import Tensor, nn

from vae_detect.runtime.session import Session
from vae_detect.training.export.constants import Constants
from vae_detect.training.export.graft import graft
from vae_detect.training.export.graphs import p_value
from vae_detect.training.export.verdict import Verdict

CHANGED = {"score", "p_value", "is_anomaly"}


class Doubled(nn.Module):
    """Twice the score, and the sum of an input's cells on top: it needs both."""

    def forward(self, x: Tensor, score: Tensor) -> Tensor:
        return 2 * score + x.flatten(1).sum(1)


@pytest.fixture(params=[name for name in CONFIGS if name != "images"])
def exported(request: pytest.FixtureRequest) -> Exported:
    return export(request.param)


def grafted(exported: Exported, *, overridable: bool = False) -> onnx.ModelProto:
    table = (CALIBRATION.threshold, CALIBRATION.knot_scores, CALIBRATION.knot_log10_p)
    constants = Constants(*table, None, overridable)
    return graft(exported.graphs.scorer, Doubled(), constants, torch.from_numpy(exported.x[:2]), Verdict((), ()))


def test_the_score_is_corrected_and_p_value_and_verdict_follow(exported: Exported) -> None:
    before = exported.run(exported.x)
    session = Session(grafted(exported).SerializeToString(), source="grafted", provider="cpu")
    after = dict(zip(session.outputs, session.run(session.outputs, {"x": exported.x}), strict=True))
    assert list(after) == list(before)
    expected = 2 * before["score"] + exported.x.reshape(len(exported.x), -1).sum(axis=1)
    np.testing.assert_allclose(after["score"], expected, rtol=1e-4, atol=1e-4)
    assert after["is_anomaly"].tolist() == (after["score"] > np.float32(CALIBRATION.threshold)).tolist()
    arrays = Constants(CALIBRATION.threshold, CALIBRATION.knot_scores, CALIBRATION.knot_log10_p, None).arrays()
    table = [torch.from_numpy(array) for name, array in arrays.items() if name != "threshold"]
    np.testing.assert_allclose(after["p_value"], p_value(torch.from_numpy(after["score"]), *table), rtol=1e-4)
    for name in before.keys() - CHANGED:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)


def test_nothing_of_the_old_end_is_left_and_nodes_are_named(exported: Exported) -> None:
    new = grafted(exported).graph
    makers = {name: node.name for node in new.node for name in node.output}
    assert all(makers[output.name] == output.name for output in new.output)
    names = [name for node in new.node for name in node.output]
    assert len(names) == len(set(names))
    read = {name for node in new.node for name in node.input} | {output.name for output in new.output}
    assert all(read & set(node.output) for node in new.node)


TABLE = ["threshold", "calibration_knots", "calibration_inverse_widths", "calibration_log_steps"]


@pytest.mark.parametrize(("name", "noise"), [("vae", []), ("ae", []), ("bernoulli, 8 points", ["noise"])])
def test_inputs_are_what_is_asked_for_whatever_they_were(name: str, noise: list[str]) -> None:
    for parent in (export(name), overridable(name)):
        noise_there = noise or [n for n in ("noise",) if n in {i.name for i in parent.graphs.scorer.graph.input}]
        assert [item.name for item in grafted(parent).graph.input] == ["x"]
        with_options = grafted(parent, overridable=True).graph
        assert [item.name for item in with_options.input] == ["x", *TABLE, *noise_there]
