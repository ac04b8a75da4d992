"""What is trained: networks, likelihoods, priors, and the autoencoder that they make."""
