"""Routes: public names over several services, and the rules that choose one of them."""
