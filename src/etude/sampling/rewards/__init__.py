"""How good an answer is: rules, functions of the user's own, reward models, and mixtures of them."""
