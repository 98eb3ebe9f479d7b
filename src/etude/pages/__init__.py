"""Self-contained HTML pages and PNG plots about one run."""
