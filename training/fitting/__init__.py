"""How it is trained: the loop, the loss and what is added to it, pretraining."""
