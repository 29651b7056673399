//! The pop service: dispatches subscriptions and serves reads.
