"""Whether a scene still shows what is there: each landmark judged by poses that come from the others."""
