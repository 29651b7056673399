//! See the library of this package.

use std::process::ExitCode;

use clap::Parser as _;
use trunkline_node::Trunkline;

#[tokio::main]
async fn main() -> ExitCode {
    Trunkline::parse().run().await
}
