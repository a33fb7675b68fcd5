//! Named passes over the graph.
