"""Renderers: views to lines of pieces for a width and a height; pure, without Textual."""
