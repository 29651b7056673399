//! The service as its callers see it: three voters on a simulated network, consensus without a protocol below.

#![allow(clippy::tests_outside_test_module, missing_debug_implementations, unreachable_pub, reason = "a test binary")]

mod cluster;
mod groups;
mod sessions;
mod store;
mod topics;
