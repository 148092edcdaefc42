//! Golden tests: every `NAME.yaml` is decoded, defaulted and validated as the API server would,
//! and the complaints must be the lines of `NAME.txt` (none for a pod that is accepted).

use std::fs;
use std::path::Path;

use klet_api::{Pod, decode, defaults, manifest, names, validate};

/// What klet says about a manifest, one complaint per line.
fn complaints(text: &str, file: &str) -> String {
    let mut lines = String::new();
    for document in manifest::parse(text, file).unwrap_or_else(|e| panic!("{e}")) {
        let decoded = match decode::from_value::<Pod>(&document.value) {
            Ok(decoded) => decoded,
            Err(error) => {
                lines.push_str(&format!("{error}\n"));
                continue;
            }
        };
        lines.extend(decoded.strict.iter().map(|e| format!("{e}\n")));
        let mut pod = decoded.object;
        defaults::default_pod(&mut pod);
        if pod.metadata.name.is_none()
            && let Some(base) = pod.metadata.generate_name.clone()
        {
            pod.metadata.name = Some(names::generate_name(&base, [0, 1, 2, 3, 4]));
        }
        lines.extend(validate::pod_create(&pod).iter().map(|e| format!("{e}\n")));
    }
    lines
}

#[test]
fn every_golden_manifest_gets_its_complaints() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the goldens are there") {
        let path = entry.expect("a readable entry").path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        count += 1;
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let expected = fs::read_to_string(path.with_extension("txt")).unwrap();
        let found = complaints(&text, &name);
        if found != expected {
            failures.push(format!("== {name}\n-- expected\n{expected}-- found\n{found}"));
        }
    }
    failures.sort();
    assert!(count > 60, "only {count} goldens found");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
