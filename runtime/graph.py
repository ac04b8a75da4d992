"""The names of the inputs and outputs of a detector's three graphs, a contract with whoever runs them."""

from __future__ import annotations

# Inputs, and what may be one.
X = "x"
THRESHOLD = "threshold"
NOISE = "noise"
KNOTS = "calibration_knots"
INVERSE_WIDTHS = "calibration_inverse_widths"
LOG_STEPS = "calibration_log_steps"
OPTIONAL = (THRESHOLD, KNOTS, INVERSE_WIDTHS, LOG_STEPS, NOISE)
"""Constants of the scorer; inputs with defaults where it was exported to be overridable, and in files of schema 2."""

# Outputs.
SCORE = "score"
P_VALUE = "p_value"
IS_ANOMALY = "is_anomaly"
RECONSTRUCTION_ERROR = "reconstruction_error"
ELBO = "elbo"
KL = "kl"
TERMS = (RECONSTRUCTION_ERROR, ELBO, KL)
"""What a score is made of, nats; a recipe without a posterior has only the first."""
CONTRIBUTION = "contribution"
RECONSTRUCTION = "reconstruction"
LATENT = "latent"
MEAN = "mean"
LOG_VARIANCE = "log_variance"
SCALE = "scale"
HEAT_MAP = "heat_map"
INDICES = "indices"
"""Output of an encoder that pools, and second input of its decoder: where in each block the maximum stood."""
