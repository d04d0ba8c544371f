"""The desk: where runs are started and the house is set up, in plain forms. Every change goes through a service."""
