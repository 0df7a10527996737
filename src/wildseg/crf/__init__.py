"""From activation maps to pseudo masks by a fully connected conditional random field."""
