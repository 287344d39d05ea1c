"""The use cases: asynchronous, over the engine, knowing no transport and no technology."""
