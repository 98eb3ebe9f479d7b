"""The peers: modules that import their own environment and `bench.measured`, nothing of Etude."""
