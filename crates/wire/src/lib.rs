//! What nodes and clients say to each other: the generated messages, the method names and the one status vocabulary.
//!
//! - [`v1`]: the public API, as generated from `proto/trunkline/v1`.
//! - [`internal`]: between nodes, from `proto/trunkline/internal/v1`.
//! - [`method`]: a method's path with the types that go in and out; each has a constant, `v1::push_service::PUSH`.
//! - [`check`]: what a client may push.
//! - [`status`]: errors as gRPC says them, with google.rpc details.
//! - [`convert`]: between messages and the types of floor 0, one file per message.
//! - [`short`]: numbers for the names that a stream repeats.

pub mod check;
pub mod convert;
pub mod method;
pub mod short;
pub mod status;

pub use prost::Message;
pub use tonic::{Code, Status};

/// As generated: nested like the packages, since generated code refers to its own types by `super`.
#[allow(missing_debug_implementations, unused_qualifications, unreachable_pub, reason = "generated")]
#[allow(clippy::all, clippy::disallowed_types, clippy::allow_attributes_without_reason, reason = "generated")]
mod trunkline {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/trunkline.v1.rs"));
        include!(concat!(env!("OUT_DIR"), "/v1_methods.rs"));
    }

    pub mod internal {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/trunkline.internal.v1.rs"));
            include!(concat!(env!("OUT_DIR"), "/internal_methods.rs"));
        }
    }
}

/// Between nodes.
pub use trunkline::internal::v1 as internal;
/// The public API.
pub use trunkline::v1;

/// The descriptors of the public API, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
