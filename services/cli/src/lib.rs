//! The client commands of the trunkline binary.
