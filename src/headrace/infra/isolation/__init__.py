"""Models in processes of their own: what crashes, leaks or holds the interpreter there does so alone."""
