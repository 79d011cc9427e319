//! `windlass migrate lint`, as a person and as a pipeline use it.

use serde_json::Value;

use crate::lab::{Lab, windlass};

const TABLES: &str = "CREATE TABLE users (id bigint PRIMARY KEY, email text, nick text);\n";

/// A folder of migrations, and the command in it: exit code, output, errors.
struct Folder(Lab);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let lab = Lab::new();
        std::fs::create_dir_all(lab.path("app/migrations")).unwrap();
        let folder = Self(lab);
        for (name, text) in files {
            std::fs::write(folder.0.path(&format!("app/migrations/{name}")), text).unwrap();
        }
        folder
    }

    fn lint(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let output = self
            .0
            .command(windlass())
            .args(["migrate", "lint"])
            .args(args)
            .current_dir(self.0.path("app"))
            .env_remove("DATABASE_URL")
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path("app/migrations")).unwrap();
        let name = |e: std::io::Result<std::fs::DirEntry>| e.unwrap().file_name();
        let mut names: Vec<String> = entries
            .map(|e| name(e).to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn lint_shows_what_is_unsafe_and_fails() {
    let folder = Folder::new(&[
        ("0001_users.sql", TABLES),
        ("0002_old.sql", "DROP TABLE users;\n"),
        ("0002_old.down.sql", "this is not looked at"),
        (
            "0010_index.sql",
            "\nCREATE INDEX users_nick ON users (nick);\n",
        ),
        ("0009_note.sql", "-- windlass: phase contract\nSELECT 1;\n"),
    ]);
    let (code, out, _) = folder.lint(&[]);
    assert_eq!(code, Some(7), "{out}");
    assert!(
        out.contains("drop-table") && out.contains("migrations/0002_old.sql:1"),
        "{out}"
    );
    assert!(!out.contains('\x1b'), "{out}");

    // What is applied is not reported, and still known.
    let (code, out, _) = folder.lint(&["--since", "migrations/0002_old.sql", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["files"]), (Some(7), &2.into()), "{out}");
    let found = report["findings"].as_array().unwrap();
    assert_eq!(found.len(), 1, "{out}");
    assert_eq!(found[0]["rule"], "create-index");
    assert_eq!(found[0]["file"], "migrations/0010_index.sql");
    assert_eq!(
        (&found[0]["line"], &found[0]["column"]),
        (&2.into(), &1.into())
    );

    let (code, out, _) = folder.lint(&["--only", "0009_note.sql"]);
    assert!(
        code == Some(0) && out.contains("nothing to complain of"),
        "{out}"
    );
    let (code, out, _) = folder.lint(&["--only", "0010_index.sql", "--disable", "create-index"]);
    assert_eq!(code, Some(0), "{out}");
    let (_, out, _) = folder.lint(&["--format", "github"]);
    assert!(
        out.contains("::error file=migrations/0002_old.sql,line=1,"),
        "{out}"
    );
    let (_, out, _) = folder.lint(&["--format", "sarif"]);
    let log: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(log["version"], "2.1.0");
}

#[test]
fn warnings_fail_when_asked() {
    let folder = Folder::new(&[
        ("0001_users.sql", TABLES),
        ("0002_nick.sql", "UPDATE users SET nick = email;\n"),
    ]);
    let (code, out, _) = folder.lint(&[]);
    assert!(code == Some(0) && out.contains("mass-change"), "{out}");
    assert_eq!(folder.lint(&["--deny-warnings"]).0, Some(7));
}

#[test]
fn fix_writes_new_files_and_changes_old_ones_only_in_place() {
    let unsafe_text = "ALTER TABLE users ALTER COLUMN nick SET NOT NULL;\n";
    let folder = Folder::new(&[("0001_users.sql", TABLES), ("0002_nick.sql", unsafe_text)]);
    let since = ["--since", "0001_users.sql", "--fix"];
    let (code, out, _) = folder.lint(&since);
    assert!(
        code == Some(7) && out.contains("fixed set-not-null") && out.contains("now remove"),
        "{out}"
    );
    let names = folder.names();
    assert_eq!(names.len(), 5, "{names:?}");
    let kept = std::fs::read_to_string(folder.0.path("app/migrations/0002_nick.sql")).unwrap();
    assert_eq!(kept, unsafe_text);
    // The second time it says that this is done.
    let (_, out, _) = folder.lint(&since);
    assert!(out.contains("takes its place already"), "{out}");
    assert_eq!(folder.names(), names);

    let folder = Folder::new(&[("0001_users.sql", TABLES), ("0002_nick.sql", unsafe_text)]);
    let (code, out, _) = folder.lint(&["--since", "0001_users.sql", "--fix", "--in-place"]);
    assert_eq!(code, Some(0), "{out}");
    let names = folder.names();
    assert_eq!(names.len(), 4, "{names:?}");
    let changed = std::fs::read_to_string(folder.0.path("app/migrations/0002_nick.sql")).unwrap();
    assert!(
        changed.contains("NOT VALID") && changed.starts_with("-- windlass: phase contract"),
        "{changed}"
    );
    // Nothing is left to fix, and nothing is written twice.
    let (code, _, _) = folder.lint(&["--since", "0001_users.sql", "--fix", "--in-place"]);
    assert_eq!((code, folder.names()), (Some(0), names));
}

#[test]
fn what_cannot_be_linted_is_said() {
    let folder = Folder::new(&[("0001_users.sql", TABLES)]);
    let (code, _, err) = folder.lint(&["--dir", "nowhere"]);
    assert!(code == Some(1) && err.contains("--dir"), "{err}");
    let (code, _, err) = folder.lint(&["--since", "0007_x.sql"]);
    assert!(code == Some(1) && err.contains("0007_x.sql"), "{err}");
    let (code, _, err) = folder.lint(&["--enable", "no-such-rule"]);
    assert!(code == Some(2) && err.contains("--rules"), "{err}");
    assert_eq!(folder.lint(&["--in-place"]).0, Some(2));
    let (code, out, _) = folder.lint(&["--rules"]);
    assert!(
        code == Some(0) && out.contains("create-index") && out.lines().count() > 60,
        "{out}"
    );
    let (code, out, _) = folder.lint(&["--explain", "set-not-null"]);
    assert!(
        code == Some(0) && out.contains("VALIDATE CONSTRAINT"),
        "{out}"
    );
    let (code, out, _) = folder.lint(&["--dialect", "mysql", "--server-version", "mariadb-10.11"]);
    assert_eq!(code, Some(0), "{out}");
}
