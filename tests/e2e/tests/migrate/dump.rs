//! Dump, diff and drift by the command.

use crate::scene::Scene;

const SQLITE: &str = include_str!("schemas/sqlite.sql");

#[test]
fn a_dump_is_a_migration_that_builds_the_same() {
    let scene = Scene::sqlite();
    scene.file("0001_first.sql", SQLITE);
    scene.run(&["up"]).code(0);
    let text = scene.run(&["dump"]).code(0).out;
    assert!(!text.contains("windlass_migrations"), "{text}");
    let other = Scene::sqlite();
    other.file("0001_squashed.sql", &text);
    other.run(&["up"]).code(0);
    assert_eq!(other.run(&["dump"]).code(0).out, text);
    let json = other.run(&["dump", "--json"]).code(0).json();
    assert_eq!(json["dialect"], "sqlite");
    assert_eq!(json["objects"][0]["kind"], "table");
    // Into a file: complete, or not at all.
    other.run(&["dump", "-o", "schema.sql"]).code(0);
    let file = other.dir.path().join("schema.sql");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let nowhere = format!("sqlite:{}/none.db", other.dir.path().display());
    other
        .run(&["dump", "--url", &nowhere, "-o", "schema.sql"])
        .code(1)
        .says("there is no file");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}
