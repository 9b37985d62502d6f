"""Load: `wrk` for speed, threads with their own connections where every single answer must be judged."""
