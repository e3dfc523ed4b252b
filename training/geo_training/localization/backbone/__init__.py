"""One backbone trained on many scenes at once, a light head for each: scene-agnostic, to be frozen for new scenes."""
