"""What a run will cost before anything is loaded: memory by term, time, money."""
