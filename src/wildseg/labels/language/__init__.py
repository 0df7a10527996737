"""Language models as label methods: queries, back ends, caching, and parsing of replies."""
