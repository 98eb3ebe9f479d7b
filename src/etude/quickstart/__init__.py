"""The data set, task and run file that the quickstart trains on."""
