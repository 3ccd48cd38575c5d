"""How the effects of both cores are carried out where the world around them is a model."""
