"""Providers at run time: which are active, how they are asked, how they are."""
