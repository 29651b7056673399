use std::fs;

use super::*;

const ROLE: Role = Role::MessageStore;

fn open(path: &Path) -> Result<Directory, DirectoryError> {
    Directory::open(path, ROLE)
}

#[test]
fn a_directory_keeps_its_node_and_counts_its_boots() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("deep/new");
    let first = open(&path).unwrap();
    let (node, boot) = (first.node(), first.boot());
    assert_ne!(node, NodeId(0));
    assert_eq!(boot.counter, 1);
    drop(first);

    let second = open(&path).unwrap();
    assert_eq!(second.node(), node);
    assert_eq!(second.boot().counter, 2);
    assert_ne!(second.boot().random, boot.random);
}

#[test]
fn an_emptied_directory_is_a_new_node() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("node");
    let before = open(&path).unwrap().node();
    fs::remove_dir_all(&path).unwrap();
    assert_ne!(open(&path).unwrap().node(), before);
}

#[test]
fn a_directory_in_use_is_refused_until_its_last_handle_is_gone() {
    let temporary = tempfile::tempdir().unwrap();
    let held = open(temporary.path()).unwrap();
    let also_held = held.clone();
    drop(held);
    let error = open(temporary.path()).unwrap_err();
    assert!(error.to_string().ends_with("is in use by another process"), "{error}");
    drop(also_held);
    assert_eq!(open(temporary.path()).unwrap().boot().counter, 2, "the refused start was not counted");
}

#[test]
fn documents_are_replaced_as_a_whole() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = open(temporary.path()).unwrap();
    assert_eq!(directory.load("map").unwrap(), None);
    directory.save("map", b"a long first version").unwrap();
    directory.save("map", b"second").unwrap();
    assert_eq!(directory.load("map").unwrap().unwrap(), b"second");
    drop(directory);
    assert_eq!(open(temporary.path()).unwrap().load("map").unwrap().unwrap(), b"second");
}

#[tokio::test]
async fn documents_are_saved_in_the_background_too() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = open(temporary.path()).unwrap();
    directory.save_in_background("map", b"here".to_vec()).await.unwrap();
    assert_eq!(directory.load("map").unwrap().unwrap(), b"here");
}

#[test]
fn what_cannot_be_trusted_is_refused_in_one_line() {
    let identity =
        |text: &'static str| move |path: &Path| fs::write(path.join("identity.json"), text).unwrap();
    let of_role = r#"{"format": 1, "node": "00000000000000aa", "role": "message-id", "created_ms": 0}"#;
    let of_nobody = r#"{"format": 1, "node": "0000000000000000", "role": "message-store", "created_ms": 0}"#;
    type Damage = Box<dyn Fn(&Path)>;
    let cases: [(Damage, &str); 7] = [
        (Box::new(identity(of_role)), "belongs to a message-id node, not to a message-store node"),
        (Box::new(identity(of_nobody)), "a node's id is not 0"),
        (Box::new(identity(r#"{"format": 9, "shape": "unheard of"}"#)), "has format 9; this version knows"),
        (Box::new(identity("")), "cannot be understood"),
        (Box::new(|path| fs::write(path.join("boot.json"), "{").unwrap()), "boot.json cannot be understood"),
        (Box::new(|path| fs::remove_file(path.join("boot.json")).unwrap()), "it is missing"),
        (
            Box::new(|path| {
                fs::remove_file(path.join("identity.json")).unwrap();
                fs::create_dir(path.join("store")).unwrap();
            }),
            "holds a store and no identity",
        ),
    ];
    for (damage, words) in cases {
        let temporary = tempfile::tempdir().unwrap();
        drop(open(temporary.path()).unwrap());
        damage(temporary.path());
        let line = open(temporary.path()).unwrap_err().to_string();
        assert!(line.contains(words) && !line.contains('\n'), "{line:?} does not say {words:?}");
    }
}

#[test]
fn a_crash_between_counter_and_identity_leaves_a_new_directory() {
    let temporary = tempfile::tempdir().unwrap();
    drop(open(temporary.path()).unwrap());
    fs::remove_file(temporary.path().join("identity.json")).unwrap();
    assert_eq!(open(temporary.path()).unwrap().boot().counter, 1);
}

#[test]
fn a_crash_while_saving_leaves_the_old_document() {
    let temporary = tempfile::tempdir().unwrap();
    let directory = open(temporary.path()).unwrap();
    directory.save("map", b"old").unwrap();
    fs::write(temporary.path().join("documents/map.new"), b"half of the n").unwrap();
    assert_eq!(directory.load("map").unwrap().unwrap(), b"old");
}
