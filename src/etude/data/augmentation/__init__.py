"""How requests change while their answers stay right."""
