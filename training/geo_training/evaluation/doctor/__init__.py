"""A live ROS graph, looked at for some seconds: what is wrong with it, and how to mend it."""
