//! Which crate may depend on which, and who may name what.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use crate::Complaint;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Normal,
    Build,
    Development,
}

#[derive(Clone, Debug)]
pub struct Dependency {
    pub name: String,
    pub kind: Kind,
}

/// A package as cargo knows it.
#[derive(Clone, Debug)]
pub struct Package {
    pub name: String,
    pub floor: Option<u64>,
    pub dependencies: Vec<Dependency>,
}

/// Beginnings of dependency names, and the only packages that may name them outside their tests.
const OWNERS: [(&str, &[&str]); 10] = [
    ("rocksdb", &["trunkline-storage"]),
    ("librocksdb", &["trunkline-storage"]),
    ("openraft", &["trunkline-consensus"]),
    ("prost-build", &["trunkline-wire"]),
    ("tonic-prost-build", &["trunkline-wire"]),
    ("protox", &["trunkline-wire"]),
    // Only the binary plugs these into the ports.
    ("trunkline-storage", &["trunkline-node"]),
    ("trunkline-consensus", &["trunkline-node", "trunkline-simulation"]),
    // Only the binary reads configuration; the tests of examples read them as it does.
    ("figment", &["trunkline-node"]),
    // Doubles are for tests.
    ("trunkline-testkit", &["trunkline-simulation", "trunkline-integration"]),
];

/// A crate depends only on crates of a strictly lower floor, except in its tests.
pub fn floors(packages: &[Package]) -> Vec<Complaint> {
    let floors: BTreeMap<&str, u64> =
        packages.iter().filter_map(|package| Some((package.name.as_str(), package.floor?))).collect();
    let mut complaints = Vec::new();
    for package in packages {
        let Some(floor) = package.floor else {
            complaints.push(format!("{} names no floor in [package.metadata]", package.name));
            continue;
        };
        for dependency in
            package.dependencies.iter().filter(|dependency| dependency.kind != Kind::Development)
        {
            match floors.get(dependency.name.as_str()) {
                Some(below) if *below >= floor => complaints.push(format!(
                    "{} (floor {floor}) depends on {} (floor {below}): arrows point down only",
                    package.name, dependency.name
                )),
                _ => {}
            }
        }
    }
    complaints
}

/// What only one crate may name, no other names.
pub fn owners(packages: &[Package]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for package in packages {
        for dependency in
            package.dependencies.iter().filter(|dependency| dependency.kind != Kind::Development)
        {
            for (_, owners) in OWNERS.iter().filter(|(name, _)| dependency.name.starts_with(name)) {
                if !owners.contains(&package.name.as_str()) {
                    let owners = owners.join(" and ");
                    complaints
                        .push(format!("{} names {}, which only {owners} may", package.name, dependency.name));
                }
            }
        }
    }
    complaints
}

/// Versions and features stand once, in the root; a member says `workspace = true`, and takes lints and package keys
/// from there too. (A member may add features: tests need more of tokio.)
///
/// # Errors
/// A manifest that is no TOML.
pub fn member(path: &str, text: &str) -> Result<Vec<Complaint>> {
    let manifest: Table = text.parse().with_context(|| path.to_owned())?;
    let mut complaints = Vec::new();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(Value::Table(dependencies)) = manifest.get(section) else { continue };
        for (name, value) in dependencies {
            if !is_of_workspace(value) {
                complaints.push(format!("{path}: {name} in [{section}] must say workspace = true"));
            }
        }
    }
    for key in ["version", "edition", "rust-version", "license", "publish"] {
        if !manifest.get("package").and_then(|package| package.get(key)).is_some_and(is_of_workspace) {
            complaints.push(format!("{path}: package.{key} must say workspace = true"));
        }
    }
    if manifest.get("package").and_then(|package| package.get("description")).is_none() {
        complaints.push(format!("{path}: package.description is missing"));
    }
    if !manifest.get("lints").is_some_and(is_of_workspace) {
        complaints.push(format!("{path}: [lints] must say workspace = true"));
    }
    Ok(complaints)
}

fn is_of_workspace(value: &Value) -> bool {
    let Value::Table(table) = value else { return false };
    let elsewhere = ["version", "path", "git"].into_iter().any(|key| table.contains_key(key));
    table.get("workspace").and_then(Value::as_bool) == Some(true) && !elsewhere
}

/// What the root names, some member uses.
///
/// # Errors
/// A manifest that is no TOML.
pub fn unused(root: &str, packages: &[Package]) -> Result<Vec<Complaint>> {
    let manifest: Table = root.parse().context("Cargo.toml")?;
    let named = manifest.get("workspace").and_then(|workspace| workspace.get("dependencies"));
    let Some(Value::Table(named)) = named else { return Ok(vec!["the root names no dependencies".into()]) };
    let is_used = |name: &str| {
        packages.iter().flat_map(|package| &package.dependencies).any(|dependency| dependency.name == name)
    };
    let unused = named.keys().filter(|name| !is_used(name));
    Ok(unused.map(|name| format!("Cargo.toml: no member uses the workspace dependency {name}")).collect())
}

/// What a package declares, its sources name. `sources` is all of its Rust text.
pub fn idle_dependencies(package: &Package, sources: &str) -> Vec<Complaint> {
    let is_named = |name: &str| {
        let name = name.replace('-', "_");
        sources.match_indices(&name).any(|(at, _)| {
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let before = at.checked_sub(1).and_then(|at| sources.as_bytes().get(at));
            let after = sources.as_bytes().get(at + name.len());
            !before.is_some_and(is_word) && !after.is_some_and(is_word)
        })
    };
    let idle = package.dependencies.iter().filter(|dependency| !is_named(&dependency.name));
    idle.map(|dependency| format!("{} declares {} and does not name it", package.name, dependency.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, floor: Option<u64>, dependencies: &[(&str, Kind)]) -> Package {
        let dependencies =
            dependencies.iter().map(|(name, kind)| Dependency { name: (*name).into(), kind: *kind });
        Package { name: name.into(), floor, dependencies: dependencies.collect() }
    }

    #[test]
    fn an_arrow_up_or_sideways_is_found_and_one_in_tests_is_not() {
        let packages = [
            package("low", Some(1), &[("high", Kind::Normal), ("serde", Kind::Normal)]),
            package("high", Some(2), &[("low", Kind::Normal), ("beside", Kind::Build)]),
            package("beside", Some(2), &[("high", Kind::Development)]),
            package("nowhere", None, &[]),
        ];
        let complaints = floors(&packages);
        assert_eq!(complaints.len(), 3, "{complaints:?}");
        assert!(complaints[0].starts_with("low (floor 1) depends on high (floor 2)"));
        assert!(complaints[1].starts_with("high (floor 2) depends on beside (floor 2)"));
        assert!(complaints[2].starts_with("nowhere names no floor"));
    }

    #[test]
    fn who_names_what_belongs_to_another_is_found() {
        let packages = [
            package("trunkline-storage", Some(3), &[("rocksdb", Kind::Normal)]),
            package("trunkline-push", Some(4), &[("rocksdb", Kind::Normal), ("openraft-rt", Kind::Normal)]),
            package(
                "trunkline-pop",
                Some(4),
                &[("trunkline-testkit", Kind::Development), ("protox", Kind::Build)],
            ),
        ];
        let complaints = owners(&packages);
        assert_eq!(complaints.len(), 3, "{complaints:?}");
        assert!(complaints[0].starts_with("trunkline-push names rocksdb"));
        assert!(complaints[1].starts_with("trunkline-push names openraft-rt"));
        assert!(complaints[2].starts_with("trunkline-pop names protox"));
    }

    const GOOD: &str = r#"
        [package]
        name = "good"
        description = "What it is."
        version.workspace = true
        edition.workspace = true
        rust-version.workspace = true
        license.workspace = true
        publish.workspace = true
        [dependencies]
        bytes.workspace = true
        tokio = { workspace = true, features = ["test-util"] }
        [lints]
        workspace = true
    "#;

    #[test]
    fn a_member_with_a_version_of_its_own_is_found() {
        assert_eq!(member("good", GOOD).unwrap(), Vec::<String>::new());
        for (old, new) in [
            ("bytes.workspace = true", "bytes = \"1\""),
            ("bytes.workspace = true", "bytes = { path = \"../bytes\" }"),
            ("bytes.workspace = true", "bytes = { workspace = true, version = \"1\" }"),
            ("edition.workspace = true", "edition = \"2021\""),
            ("description", "homepage"),
            ("[lints]", "[other]"),
        ] {
            let complaints = member("bad", &GOOD.replace(old, new)).unwrap();
            assert_eq!(complaints.len(), 1, "{new}: {complaints:?}");
        }
    }

    #[test]
    fn what_nobody_uses_is_found() {
        let root = "[workspace.dependencies]\nbytes = \"1\"\nidle = \"1\"";
        let packages = [package("one", Some(1), &[("bytes", Kind::Development)])];
        assert_eq!(
            unused(root, &packages).unwrap(),
            ["Cargo.toml: no member uses the workspace dependency idle"]
        );
        let package = package("one", Some(1), &[("some-crate", Kind::Normal), ("idle", Kind::Normal)]);
        let complaints = idle_dependencies(&package, "use some_crate::Thing; // idleness");
        assert_eq!(complaints, ["one declares idle and does not name it"]);
    }
}
