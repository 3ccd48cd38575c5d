"""Acts on the site: what each is on, what it requires, what it proposes."""
