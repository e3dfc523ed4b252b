"""Nodes beside the bare estimators they are made of: what ROS costs, over real DDS and in processes of their own."""
