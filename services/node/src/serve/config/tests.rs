use std::collections::BTreeSet;

use super::*;

fn read(text: &str) -> Result<Config, Refusal> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("nyc.toml");
    std::fs::write(&path, text).expect("written");
    Config::read(&path, &[])
}

const NYC: &str = r#"
    [cluster]
    name = "test"
    seeds = ["127.0.0.1:7104"]
    [node]
    datacenter = "nyc"
    data-dir = "/var/lib/trunkline"
    [data]
    message-store = "/disk"
    [advertise]
    push = "push.nyc:7102"
"#;

#[test]
fn a_role_is_planned_from_its_sections() {
    let config = read(NYC).expect("valid");
    assert_eq!(config.validate(&[Role::Push, Role::MessageStore]), Ok(()));
    let push = config.plan(Role::Push, true);
    assert_eq!((push.name.as_str(), push.listen.as_str()), ("nyc-push", "127.0.0.1:7102"));
    assert_eq!((push.advertise.as_str(), push.data), ("push.nyc:7102", None));
    assert_eq!(config.plan(Role::MessageStore, true).data, Some("/disk".into()));
    let named =
        Config { node: NodeSection { name: Some("a".to_owned()), ..config.node.clone() }, ..config.clone() };
    assert_eq!(
        (named.plan(Role::Pop, true).name, named.plan(Role::Pop, false).name),
        ("a".into(), "a-pop".into())
    );
    assert_eq!(config.plan(Role::MessageId, true).data, Some("/var/lib/trunkline/message-id".into()));
}

#[test]
fn flags_win_over_the_file() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("nyc.toml");
    std::fs::write(&path, NYC).expect("written");
    let set =
        ["listen.admin=127.0.0.1:9", "node.insecure=true", "cluster.seeds=[\"a:1\"]"].map(str::to_owned);
    let config = Config::read(&path, &set).expect("valid");
    assert_eq!((config.listen.admin.as_str(), config.node.insecure), ("127.0.0.1:9", true));
    assert_eq!(config.cluster.seeds, ["a:1"]);
    let refusal = Config::read(&path, &["insecure".to_owned()]).expect_err("refused");
    assert_eq!(refusal.to_string(), "--set insecure: is not SECTION.KEY=VALUE");
}

#[test]
fn what_is_not_known_is_refused_with_its_file_and_key() {
    for (text, words) in [
        ("[node]\ndata-centre = \"nyc\"", ["nyc.toml", "data-centre"]),
        ("[nodes]\n", ["nyc.toml", "nodes"]),
        ("[listen]\npsuh = \"127.0.0.1:1\"", ["nyc.toml", "psuh"]),
        ("[push]\nnot-there = 1", ["nyc.toml", "not-there"]),
        ("[node]\ninsecure = 7", ["nyc.toml", "insecure"]),
    ] {
        let refusal = read(text).expect_err("refused").to_string();
        assert!(words.iter().all(|word| refusal.contains(word)) && !refusal.contains('\n'), "{refusal}");
    }
}

#[test]
fn what_cannot_work_is_refused_in_the_words_of_the_file() {
    let refused = |text: &str, roles: &[Role]| {
        read(text).expect("readable").validate(roles).expect_err("refused").to_string()
    };
    let elsewhere = format!("{NYC}[listen]\nmessage-id = \"0.0.0.0:7104\"");
    assert!(
        refused(&elsewhere, &[Role::MessageId])
            .starts_with("listen.message-id: 0.0.0.0:7104 is not loopback")
    );
    let insecure = elsewhere.replace("[node]", "[node]\ninsecure = true");
    assert!(refused(&insecure, &[Role::MessageId]).starts_with("advertise.message-id: must be said"));
    assert_eq!(refused(&insecure, &[]), "no role is named");
    assert_eq!(refused(&insecure, &[Role::Pop, Role::Pop]), "pop is named twice");
    assert_eq!(refused("", &[Role::Pop]), "node.datacenter: must be said");
    assert_eq!(refused("[node]\ndatacenter = \"x\"", &[Role::Pop]), "cluster.seeds: at least one is needed");
}

#[test]
fn every_example_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/examples");
    let mut examples = 0;
    for entry in std::fs::read_dir(folder).expect("deploy/examples") {
        let path = entry.expect("an entry").path();
        if path.file_name().is_some_and(|name| name == "map.toml") {
            crate::map_file::MapFile::read(&path).expect("a valid map");
        } else {
            let config = Config::read(&path, &[]).expect("a valid file");
            assert_eq!(config.validate(&Role::ALL), Ok(()), "{}", path.display());
        }
        examples += 1;
    }
    assert_eq!(examples, 4, "three datacenters and the map");
}

/// A process as the comment of an example starts it: its roles, and where it listens.
fn started(command: &str) -> (Vec<Role>, Vec<String>) {
    let mut words = command.split_whitespace().peekable();
    let mut set = Vec::new();
    while let Some((key, value)) = words.peek().and_then(|word| word.split_once('=')) {
        let key = key.strip_prefix(ENVIRONMENT).expect("a setting").replace("__", ".").replace('_', "-");
        set.push(format!("{}={value}", key.to_lowercase()));
        words.next();
    }
    let words: Vec<&str> = words.collect();
    let ["trunkline", "serve", roles, "--config", file] = words[..] else { panic!("{command}") };
    let roles: Vec<Role> = roles.split(',').map(|role| role.parse().expect("a role")).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    let config = Config::read(&file, &set).expect("a valid file");
    assert_eq!(config.validate(&roles), Ok(()), "{command}");
    let listeners = config.listeners(&roles).map(|(_, address)| address.to_owned()).collect();
    (roles, listeners)
}

/// The commands of a document: lines with `trunkline serve`, without marks of comment.
fn commands(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(|line| line.trim_start_matches(['#', ' ']))
        .filter(|line| line.contains("trunkline serve") && line.contains("--config"))
}

#[test]
fn the_commands_of_the_examples_run_beside_each_other_and_serve_the_whole_api() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).expect(file);
    let mut all = BTreeSet::new();
    for datacenter in ["nyc", "mci", "sea"] {
        let text = read(&format!("deploy/examples/{datacenter}.toml"));
        let mut roles = Vec::new();
        for command in commands(&text) {
            assert!(command.ends_with(&format!("deploy/examples/{datacenter}.toml")), "{command}");
            let (named, listeners) = started(command);
            assert_eq!(
                named.contains(&Role::Push),
                named.contains(&Role::Pop),
                "one client address: {command}"
            );
            for address in listeners {
                assert!(all.insert(address.clone()), "{command}: {address} is taken");
            }
            roles.extend(named);
        }
        roles.sort();
        assert_eq!(roles, Role::ALL, "{datacenter}");
    }
    let (nyc, readme) = (read("deploy/examples/nyc.toml"), read("README.md"));
    assert_eq!(commands(&readme).collect::<Vec<_>>(), commands(&nyc).collect::<Vec<_>>());
}
