//! Reads the folder of a case, and the folder of cases.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use crate::compare::{Golden, Logs};
use crate::notes::Notes;

/// A pod that was run on the real node.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) pod: Value,
    pub(crate) golden: Golden,
}

/// A manifest that was sent to the real API server.
#[derive(Debug)]
pub(crate) struct Posted {
    pub(crate) name: String,
    pub(crate) object: Value,
    /// Its `Status`, or `{"ACCEPTED": true}`.
    pub(crate) answer: Value,
}

/// Everything below a folder laid out like the oracle.
#[derive(Debug)]
pub(crate) struct Cases {
    pub(crate) cases: Vec<Case>,
    pub(crate) posted: Vec<Posted>,
    /// Applied before.
    pub(crate) prerequisites: Vec<Value>,
}

impl Cases {
    /// # Errors
    /// A file is missing or cannot be read; the message names it.
    pub(crate) fn read(directory: &Path) -> anyhow::Result<Self> {
        let mut cases = Vec::new();
        for path in entries(directory)? {
            if path.join("pod.yaml").is_file() {
                cases.push(case(&path).with_context(|| path.display().to_string())?);
            }
        }
        let mut posted = Vec::new();
        let invalid = directory.join("invalid");
        let files = if invalid.is_dir() { entries(&invalid)? } else { Vec::new() };
        for path in files.iter().filter(|path| path.extension().is_some_and(|end| end == "yaml")) {
            posted.push(self::posted(path).with_context(|| path.display().to_string())?);
        }
        let file = directory.join("prerequisites.yaml");
        let prerequisites = if file.is_file() { yaml(&file)? } else { Vec::new() };
        Ok(Self { cases, posted, prerequisites })
    }
}

fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)
        .with_context(|| format!("cannot list the cases in {}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

fn case(path: &Path) -> anyhow::Result<Case> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let one = |file: &str| yaml(&path.join(file)).map(|mut all| all.remove(0));
    let logs = fs::read_to_string(path.join("logs.txt")).unwrap_or_default();
    let golden = Golden {
        notes: Notes::parse(&fs::read_to_string(path.join("notes.md"))?)?,
        object: one("status.yaml")?,
        logs: Logs::parse(&logs),
    };
    Ok(Case { name, pod: one("pod.yaml")?, golden })
}

fn posted(path: &Path) -> anyhow::Result<Posted> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let answer: Value = serde_json::from_slice(&fs::read(path.with_extension("json"))?)?;
    Ok(Posted {
        name: format!("invalid/{name}"),
        object: yaml(path)?.remove(0),
        answer: answer["status"].clone(),
    })
}

/// All documents of a file; at least one.
fn yaml(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    // YAML 1.2: the record's writer leaves `y` and `n` without quotes, which kubectl does not.
    let options = serde_saphyr::options! { strict_booleans: true };
    let values: Vec<Value> = serde_saphyr::from_multiple_with_options(&text, options)
        .with_context(|| path.display().to_string())?;
    values.first().with_context(|| format!("{} is empty", path.display()))?;
    Ok(values)
}
