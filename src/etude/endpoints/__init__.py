"""Language models behind an OpenAI-compatible HTTP endpoint: asked many things at once, within limits, each once."""
