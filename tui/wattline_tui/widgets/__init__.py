"""Parts of screens that render view state and have no other input."""
