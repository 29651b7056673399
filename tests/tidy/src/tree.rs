//! The files of this repository, and its packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use cargo_metadata::MetadataCommand;

use crate::manifests::{Dependency, Kind, Package};

/// What is not ours, or not source.
const SKIPPED: [&str; 5] = ["target", "data", "node_modules", "__pycache__", "venv"];

/// A file of this repository: its path from the root, with `/`, and its text.
#[derive(Clone, Debug)]
pub struct File {
    pub path: String,
    pub text: String,
}

pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tests/tidy stands two folders below the root").to_owned()
}

/// All files whose names end so, in order.
///
/// # Errors
/// Of the disk.
pub fn files(root: &Path, endings: &[&str]) -> Result<Vec<File>> {
    let mut found = Vec::new();
    collect(root, root, endings, &mut found)?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn collect(root: &Path, folder: &Path, endings: &[&str], found: &mut Vec<File>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') || SKIPPED.contains(&name) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, endings, found)?;
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let path = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            found.push(File { path, text });
        }
    }
    Ok(())
}

/// The packages of the workspace whose manifest this is. Asks cargo, without the network.
///
/// # Errors
/// What cargo says.
pub fn packages(manifest: &Path) -> Result<Vec<Package>> {
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec()?;
    Ok(metadata.packages.iter().map(package).collect())
}

fn package(found: &cargo_metadata::Package) -> Package {
    let dependencies = found.dependencies.iter().map(|dependency| Dependency {
        name: dependency.name.clone(),
        kind: match dependency.kind {
            cargo_metadata::DependencyKind::Development => Kind::Development,
            cargo_metadata::DependencyKind::Build => Kind::Build,
            _ => Kind::Normal,
        },
    });
    Package {
        name: found.name.to_string(),
        floor: found.metadata.get("floor").and_then(|floor| floor.as_u64()),
        dependencies: dependencies.collect(),
    }
}
