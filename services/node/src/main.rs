//! See the library of this package.

use std::process::ExitCode;

use clap::Parser as _;
use mimalloc::MiMalloc;
use trunkline_node::Trunkline;

/// A message passes a dozen threads, each of which frees what another allocated: glibc's arenas contend there.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    Trunkline::parse().run().await
}
