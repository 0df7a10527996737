"""The rendered field world that ships with wildseg, and the recipe of the tiny CLIP that knows it."""
