"""A scorer opened at its code."""

import numpy as np
import pytest
import torch
from small_exports import export

from vae_detect.runtime.session import Session
from vae_detect.training.export.opened import open_at_code


@pytest.mark.parametrize("name", ["vae", "bernoulli, 8 points"])
def test_a_scorer_opened_at_its_code_has_the_error_of_that_code(name: str) -> None:
    exported = export(name)
    model, x = exported.model, torch.from_numpy(exported.x)
    codes = np.random.default_rng(3).normal(size=(len(exported.x), 2)).astype(np.float32)
    with torch.no_grad():
        output = model.decode(torch.from_numpy(codes), None)
        expected = model.likelihood.deviance(model.observe(model.standardise(x)), output).sum(-1)
    session = Session(open_at_code(exported.graphs.scorer).SerializeToString(), source="opened", provider="cpu")
    (found,) = session.run(["reconstruction_error"], {"x": exported.x, "latent": codes})
    np.testing.assert_allclose(found, expected, rtol=1e-4)
