//! Compiles proto/ without protoc, and names every method once, typed: `push_service::PUSH` and so on.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost_types::FileDescriptorSet;

const PACKAGES: [(&str, &str); 2] = [("trunkline.v1", "v1"), ("trunkline.internal.v1", "internal")];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    for (package, _) in PACKAGES {
        let folder = root.join(package.replace('.', "/"));
        for entry in fs::read_dir(folder)? {
            files.push(entry?.path());
        }
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    let descriptors = protox::compile(&files, [root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&public(&descriptors)))?;
    for (package, module) in PACKAGES {
        fs::write(out.join(format!("{module}_methods.rs")), methods(&descriptors, package)?)?;
    }
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .bytes(".")
        .btree_map(".")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}

/// What server reflection shows: the public API and what it imports, not what nodes say to each other.
fn public(all: &FileDescriptorSet) -> FileDescriptorSet {
    let file = all.file.iter().filter(|file| file.package() != "trunkline.internal.v1").cloned().collect();
    FileDescriptorSet { file }
}

fn methods(descriptors: &FileDescriptorSet, package: &str) -> Result<String, Box<dyn Error>> {
    let mut code = String::new();
    for file in descriptors.file.iter().filter(|file| file.package() == package) {
        for service in &file.service {
            writeln!(
                code,
                "/// Methods of `{package}.{}`.\npub mod {} {{",
                service.name(),
                snake(service.name())
            )?;
            for method in &service.method {
                let kind = if method.client_streaming() || method.server_streaming() {
                    "Streaming"
                } else {
                    "Unary"
                };
                writeln!(
                    code,
                    "    pub const {}: crate::method::{kind}<super::{}, super::{}> =\n        \
                     crate::method::{kind}::new(\"/{package}.{}/{}\");",
                    snake(method.name()).to_uppercase(),
                    last(method.input_type()),
                    last(method.output_type()),
                    service.name(),
                    method.name(),
                )?;
            }
            writeln!(code, "}}")?;
        }
    }
    Ok(code)
}

fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn snake(camel: &str) -> String {
    let mut snake = String::new();
    for (index, c) in camel.char_indices() {
        if c.is_ascii_uppercase() && index > 0 {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
