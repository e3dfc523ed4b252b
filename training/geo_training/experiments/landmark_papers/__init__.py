"""The landmark detectors of the papers that this project builds on, each a config: SLD*, SLD with its bearing
estimator, and the network with a shared backbone, with its alternatives."""
