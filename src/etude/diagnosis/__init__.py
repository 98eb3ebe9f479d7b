"""Why a model fails, where, and which rows would help."""
