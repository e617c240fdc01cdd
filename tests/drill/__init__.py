"""Tests of the drill: that it finds what is right, and above all what is not."""
