"""Jobs in memory and the indexes over them."""
