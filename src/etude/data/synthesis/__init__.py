"""New rows by a model: written, checked, kept with where they come from; and pairs of best and worst answers."""
