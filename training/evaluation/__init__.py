"""How good a detector is: figures on labelled data, and the page that shows them."""
