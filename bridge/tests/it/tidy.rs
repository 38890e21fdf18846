//! Habits of the repository, as a test: the layers of `lib.rs`, no patient text in what prints, no leftovers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(path).unwrap().flatten().map(|e| e.path()) {
            if entry.is_dir() {
                open.push(entry);
            } else if entry.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&entry).unwrap();
                found.push((entry, text));
            }
        }
    }
    found
}

/// The layers, lowest first; a module uses its own layer and those below.
const LAYERS: &[&[&str]] = &[
    &["ids", "secret", "clock", "limits"],
    &[
        "fhir",
        "vault::seal",
        "vault::pack",
        "audit::event",
        "audit::seen",
        "audit::trail",
        "consent::decide",
        "consent::grant",
        "consent::labels",
        "consent::outside",
        "exchange::document",
        "exchange::signed",
        "consent::policy",
        "consent::request",
        "smart",
        "intake::frame",
        "http::query",
        "error",
        "config",
        "vault::keys",
        "vault::roots",
        "vault::kms",
        "vault::objects",
        "index",
        "outgoing",
        "people",
        "feeds",
        "places",
        "rooms",
        "telemetry",
        "tls",
    ],
    &[
        "app",
        "ingest",
        "commit",
        "read",
        "search",
        "message",
        "exchange",
        "export",
        "notify",
        "audit",
        "consent::belong",
        "consent::emergency",
        "consent::gate",
        "consent::merged",
        "consent::give",
        "consent::registry",
        "consent::whose",
        "consent::worker",
        "lease",
        "anchor",
        "summary",
        "telemetry::gauges",
        "upkeep",
        "quarantine",
        "intake::ack",
    ],
    &["http", "intake::mllp", "intake::listeners", "reload", "control", "commands", "main"],
];

fn layer(module: &str) -> Option<usize> {
    let parts: Vec<&str> = module.split("::").collect();
    let two = parts.iter().take(2).copied().collect::<Vec<_>>().join("::");
    LAYERS.iter().position(|l| l.contains(&two.as_str())).or_else(|| LAYERS.iter().position(|l| l.contains(&parts[0])))
}

fn module_of(path: &Path) -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let name = path.strip_prefix(source).unwrap().with_extension("");
    name.to_string_lossy().replace('/', "::").trim_end_matches("::mod").to_owned()
}

#[test]
fn modules_use_their_own_layer_and_those_below() {
    let mut broken = Vec::new();
    for (path, text) in sources("src") {
        let module = module_of(&path);
        let code = text.split("#[cfg(test)]").next().unwrap();
        let Some(own) = layer(&module) else {
            // What only lists its parts is in none.
            if code.contains("crate::") {
                broken.push(format!("{module} is in no layer"));
            }
            continue;
        };
        for line in code.lines().filter(|l| !l.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect();
                if layer(&used).is_some_and(|other| other > own) {
                    broken.push(format!("{module} uses {used}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn nothing_is_left_unfinished_and_nothing_from_outside_is_unwrapped() {
    let mut found = Vec::new();
    for folder in ["src", "../notary/src", "../mappings/src"] {
        for (path, text) in sources(folder) {
            // `#![cfg(test)]` makes a file of tests alone: the compiler leaves it out of all else.
            let code = text.split("#![cfg(test)]").next().unwrap().split("#[cfg(test)]").next().unwrap();
            for (n, line) in code.lines().enumerate() {
                let words = ["todo!", "unimplemented!", "dbg!", ".unwrap()", ".expect(", "panic!("];
                if words.iter().any(|w| line.contains(w)) && !line.trim_start().starts_with("//") {
                    found.push(format!("{}:{}: {}", path.display(), n + 1, line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn files_and_functions_stay_small() {
    let mut lengths = Vec::new();
    let mut long_files = BTreeMap::new();
    for folder in ["src", "../notary/src", "../mappings/src"] {
        for (path, text) in sources(folder) {
            let code = text.split("#[cfg(test)]").next().unwrap();
            if code.lines().count() > 800 {
                long_files.insert(path.display().to_string(), code.lines().count());
            }
            let mut begun: Option<(usize, usize)> = None;
            for (n, line) in code.lines().enumerate() {
                let indent = line.len() - line.trim_start().len();
                let starts = line.trim_start();
                if begun.is_none() && (starts.contains("fn ") && line.trim_end().ends_with('{')) {
                    begun = Some((n, indent));
                } else if let Some((start, depth)) = begun
                    && line.trim_end() == format!("{}}}", " ".repeat(depth))
                {
                    lengths.push(n - start + 1);
                    begun = None;
                }
            }
        }
    }
    lengths.sort_unstable();
    assert!(long_files.is_empty(), "{long_files:#?}");
    let median = lengths[lengths.len() / 2];
    assert!(median <= 10, "the median function has {median} lines");
}

/// Every name of a function in the repository's tests: of Rust, Solidity, JavaScript.
fn functions() -> std::collections::HashSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let listed = std::process::Command::new("git").arg("-C").arg(&root).arg("ls-files").output().unwrap();
    let files = String::from_utf8(listed.stdout).unwrap();
    let code = files.lines().filter(|file| [".rs", ".sol", ".js"].iter().any(|end| file.ends_with(end)));
    let texts = code.filter_map(|file| std::fs::read_to_string(root.join(file)).ok());
    let names = |text: String| {
        let parts = text.replace("function ", "fn ");
        parts
            .split("fn ")
            .skip(1)
            .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
            .collect()
    };
    texts.flat_map(|text| -> Vec<String> { names(text) }).collect()
}

/// The threat model names tests that there are, by the module of the integration tests or by the function alone.
#[test]
fn each_test_of_the_threat_model_exists() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/threat-model.md")).unwrap();
    let functions = functions();
    let rows = text.lines().skip_while(|line| !line.starts_with("| threat | what stops it")).skip(2);
    let rows: Vec<&str> = rows.take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 50, "the table was found");
    let mut missing = Vec::new();
    for row in rows {
        let test = row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap();
        let quoted: Vec<&str> = test.split('`').skip(1).step_by(2).filter(|name| !name.contains(['/', '.'])).collect();
        let honest = ["no test yet", "none: nothing stops it", "ci/"].iter().any(|words| test.contains(words));
        assert!(!quoted.is_empty() || honest, "{row}");
        for name in quoted.into_iter().filter(|name| name.len() > 12) {
            let function = name.rsplit("::").next().unwrap();
            if !functions.contains(function) {
                missing.push(name);
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
