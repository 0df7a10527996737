"""`wildseg tick`: a page on this machine on which a person ticks the classes of tiles."""
