"""The Open Inference Protocol V2 as such: what its doors, REST and gRPC, have in common."""
