"""Pipelines over gRPC: the Open Inference Protocol V2 and the standard health service."""
