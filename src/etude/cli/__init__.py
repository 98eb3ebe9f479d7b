"""The command `etude`: one file per command, each loaded only when it is called."""
