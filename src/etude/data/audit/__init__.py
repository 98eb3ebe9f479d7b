"""What is wrong with rows before they are learned from: one file for each kind of finding, all of it in `audit.py`."""
