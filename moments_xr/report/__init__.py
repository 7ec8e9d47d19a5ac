"""A cube reported to people: the page that stands alone, and the live application."""
