"""What others notice while one member attacks: attacks, the site they hit, and honest members."""
