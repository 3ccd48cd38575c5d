"""What goes wrong in a simulated site, by where it strikes, and the schedule that draws it."""
