//! Merging: what is joined, what clashes, what is found. Tests never touch the disk.

use std::path::Path;

use super::*;
use crate::config::testing::World;

const MAIN: &str = "include = [\"routes.d/*.toml\"]\n[[listen]]\naddress = \"0.0.0.0:1\"\n";

fn loaded(world: &World, path: &str) -> (Vec<Entry>, String) {
    let log = Log::new();
    let root = load(Path::new(path), world, &log);
    (root, log.finish().render())
}

fn names(root: &[Entry], table: &str) -> Vec<String> {
    let entry = root.iter().find(|entry| entry.key.value == table).expect("is there");
    match &entry.node.kind {
        Kind::Table(entries) => entries.iter().map(|entry| entry.key.value.clone()).collect(),
        Kind::Array(list) => list.iter().map(|_| table.to_owned()).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn included_files_are_joined_in_the_order_of_their_names() {
    let world = World::default()
        .file("etc/ringway.toml", MAIN)
        .file("etc/routes.d/b.toml", "[upstream.b]\n[[route]]\n")
        .file("etc/routes.d/a.toml", "[upstream.a]\n[[route]]\n")
        .file("etc/routes.d/c.txt", "no = toml");
    let (root, errors) = loaded(&world, "etc/ringway.toml");
    assert_eq!(errors, "");
    assert_eq!(names(&root, "upstream"), ["a", "b"]);
    assert_eq!(names(&root, "route").len(), 2);
    assert!(!root.iter().any(|entry| entry.key.value == "include"));
}

#[test]
fn a_folder_is_all_its_toml_and_json_files() {
    let world = World::default()
        .file("conf/1.toml", "[default]\ntimeout = \"1s\"\n")
        .file("conf/2.json", "{\"default\": {\"jwt\": \"a\"}}")
        .file("conf/.hidden.toml", "broken =")
        .file("conf/readme.md", "#");
    let (root, errors) = loaded(&world, "conf");
    assert_eq!(errors, "");
    assert_eq!(names(&root, "default"), ["timeout", "jwt"]);
}

#[test]
fn the_same_name_in_two_files_points_at_both() {
    let world = World::default()
        .file("conf/1.toml", "[upstream.user]\n")
        .file("conf/2.toml", "workers = 1\n[upstream.user]\n")
        .file("conf/3.toml", "workers = 2\n");
    let (_, errors) = loaded(&world, "conf");
    assert!(errors.contains("`upstream.user` is written twice"), "{errors}");
    assert!(errors.contains("conf/2.toml:2:11") && errors.contains("conf/1.toml:1:11"), "{errors}");
    assert!(errors.contains("`workers` is written twice"), "{errors}");
}

#[test]
fn what_cannot_be_included_is_said() {
    let world = World::default()
        .file("a.toml", "include = [\"none.toml\", \"x/*.toml\", \"b.toml\"]")
        .file("b.toml", "include = \"a.toml\"");
    let (_, errors) = loaded(&world, "a.toml");
    assert!(errors.contains("`none.toml` is no file"), "{errors}");
    assert!(errors.contains("no file matches `x/*.toml`"), "{errors}");
    assert!(errors.contains("only the main file includes others"), "{errors}");
    let (_, errors) = loaded(&world, "missing.toml");
    assert!(errors.contains("missing.toml") && errors.contains("cannot be read"), "{errors}");
}

#[test]
fn patterns_have_stars_and_question_marks() {
    let matches = |pattern: &str, name: &str| matches_glob(pattern.as_bytes(), name.as_bytes());
    assert!(matches("*.toml", "a.toml") && matches("a?c*", "abcd") && matches("*", ""));
    assert!(!matches("*.toml", "a.tom") && !matches("?", "") && !matches("a", "b"));
    assert!(!matches(&"*a".repeat(40), &"a".repeat(39)));
}
