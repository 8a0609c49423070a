//! `components/README.md` shows the example service `notes` word for word.

#[test]
fn the_readme_contains_the_example_service() {
    let readme = include_str!("../../README.md");
    let files = [
        include_str!("notes/src/lib.rs"),
        include_str!("notes/src/model.rs"),
        include_str!("notes/src/rows.rs"),
        include_str!("notes/src/tests.rs"),
        include_str!("notes/migrations/1.sql"),
    ];
    for file in files {
        assert!(readme.contains(file), "README.md does not contain this file:\n{file}");
    }
    assert!(readme.lines().count() <= 200, "README.md has more than 200 lines");
}
