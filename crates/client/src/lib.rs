//! The Rust client: finds the nearest datacenter, fails over, retries by the error rules, batches and keeps order.
