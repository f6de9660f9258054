"""Graphs of ONNX's operators as layers: run, differentiated, trained and saved like any other."""

from rnnfast.graph.layer import Graph

__all__ = ["Graph"]
