//! Images for the cases: fixture images under the names that the recorded node had.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::case::Case;
use crate::http;

/// Which fixture image behaves like the image of a repository.
const STAND_INS: [(&str, &str); 5] = [
    ("agnhost", "agnhost"),
    ("httpd", "nginx"),
    ("nginx", "nginx"),
    ("nonroot", "nonroot"),
    ("fixture", "fixture"),
];

/// Names of the images that the recorded node had or could pull: its events tell.
pub(crate) fn wanted(cases: &[Case]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for case in cases {
        for event in case.golden.notes.events.iter().filter(|event| event.key.reason == "Pulled") {
            names.extend(event.message.split('"').nth(1).map(ToOwned::to_owned));
        }
    }
    names
}

/// Loads a stand-in under each name.
///
/// # Errors
/// A fixture image is missing (`make images`), the daemon refuses it.
pub(crate) fn load(socket: &Path, names: &BTreeSet<String>) -> anyhow::Result<()> {
    let mut fixtures: BTreeSet<&str> = BTreeSet::new();
    fixtures.extend(names.iter().map(|name| fixture(name)));
    for fixture in fixtures {
        let own: Vec<&String> =
            names.iter().filter(|name| self::fixture(name) == fixture).collect();
        let path = klet_e2e::workspace().join(format!("target/images/{fixture}.tar"));
        let archive =
            renamed(&path, &own).with_context(|| format!("{} (make images)", path.display()))?;
        let target = "/klet/v1/images/load";
        let (code, answer) = http::send(socket, "POST", target, "application/x-tar", &archive)?;
        ensure!(code == 200 && !answer.contains("\"error\""), "loading {fixture}: {answer}");
    }
    Ok(())
}

fn fixture(name: &str) -> &'static str {
    let repository = name.rsplit('/').next().unwrap_or(name);
    let repository = repository.split([':', '@']).next().unwrap_or(repository);
    let found = STAND_INS.iter().find(|(known, _)| *known == repository);
    found.map_or("busybox", |(_, fixture)| fixture)
}

/// The archive with its only image under other names.
fn renamed(path: &Path, names: &[&String]) -> anyhow::Result<Vec<u8>> {
    let mut from = tar::Archive::new(File::open(path)?);
    let mut to = tar::Builder::new(Vec::new());
    for entry in from.entries()? {
        let mut entry = entry?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        let place = entry.path()?.into_owned();
        if place == Path::new("index.json") {
            bytes = index(&bytes, names)?;
        }
        let mut header = entry.header().clone();
        header.set_size(bytes.len() as u64);
        to.append_data(&mut header, &place, Cursor::new(bytes))?;
    }
    Ok(to.into_inner()?)
}

fn index(bytes: &[u8], names: &[&String]) -> anyhow::Result<Vec<u8>> {
    let mut index: Value = serde_json::from_slice(bytes)?;
    let image = index["manifests"][0].take();
    let named = names.iter().map(|name| {
        let mut image = image.clone();
        image["annotations"] = json!({
            "io.containerd.image.name": full(name),
            "org.opencontainers.image.ref.name": full(name),
        });
        image
    });
    index["manifests"] = Value::Array(named.collect());
    Ok(serde_json::to_vec(&index)?)
}

/// The name in full, as docker's short names are meant.
fn full(name: &str) -> String {
    let registry = name.split('/').next().is_some_and(|first| first.contains(['.', ':']));
    match (registry && name.contains('/'), name.contains('/')) {
        (true, _) => name.to_owned(),
        (false, true) => format!("docker.io/{name}"),
        (false, false) => format!("docker.io/library/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{fixture, full};

    #[test]
    fn names_lead_to_fixtures() {
        assert_eq!(fixture("docker.io/library/busybox:1.29"), "busybox");
        assert_eq!(fixture("k8s.gcr.io/e2e-test-images/agnhost:2.21"), "agnhost");
        assert_eq!(fixture("httpd@sha256:00"), "nginx");
    }

    #[test]
    fn short_names_are_docker_hub_s() {
        assert_eq!(full("busybox:1.29"), "docker.io/library/busybox:1.29");
        assert_eq!(full("a/b:1"), "docker.io/a/b:1");
        assert_eq!(full("gcr.io/b:1"), "gcr.io/b:1");
    }
}
