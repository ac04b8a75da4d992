"""What a training run is asked for: recipes, settings and rates."""
