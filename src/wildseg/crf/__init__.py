"""From activation maps to pseudo masks by a dense conditional random field; boxes, points and scribbles."""
