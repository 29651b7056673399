//! The one binary, trunkline: reads configuration, builds services and runs them.
