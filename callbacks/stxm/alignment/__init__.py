"""How far an image has drifted, and how to undo it."""
