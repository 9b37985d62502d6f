"""Inspection of ONNX files that somebody brought."""
