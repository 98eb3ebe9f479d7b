"""From a raw file to records, token rows and batches."""
