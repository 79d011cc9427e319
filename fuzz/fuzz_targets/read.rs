//! Any bytes as a spec in YAML and in TOML, and as a file of each system that can be imported.

#![no_main]

use libfuzzer_sys::fuzz_target;
use windlass_spec::{Severity, import, load, render};

fuzz_target!(|bytes: &[u8]| {
    for name in ["windlass.yml", "windlass.toml"] {
        let loaded = load(name, bytes);
        let errors = loaded
            .diagnostics
            .iter()
            .any(|d| d.severity == Severity::Error);
        assert_eq!(loaded.plan.is_none(), errors);
        for diagnostic in &loaded.diagnostics {
            assert!(diagnostic.span.start <= diagnostic.span.end);
            assert!(diagnostic.span.end <= bytes.len());
        }
        render::plain(bytes, name, &loaded.diagnostics);
    }
    for path in [
        ".github/workflows/ci.yml",
        ".woodpecker.yml",
        ".drone.yml",
        ".gitlab-ci.yml",
        ".travis.yml",
    ] {
        let _ = import::import(path, bytes);
    }
});
