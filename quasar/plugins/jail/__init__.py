"""What confines the process of a plug-in. Applied by the process itself, before it loads the author's code."""
