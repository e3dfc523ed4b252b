"""Files and folders on disk: replaced whole or not at all, and never what is not ours to replace."""
