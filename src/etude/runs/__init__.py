"""Run directories, their manifests, and the database that indexes them."""
