"""What finds personal data and secrets in texts, and what stands instead of them."""
