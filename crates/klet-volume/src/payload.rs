//! What a configMap or secret volume contains: files with modes.

use std::collections::BTreeMap;

use klet_api::k8s_openapi::api::core::v1::{ConfigMapVolumeSource, KeyToPath, SecretVolumeSource};

use crate::Sources;

/// Mode of files that say none.
const DEFAULT_MODE: u32 = 0o644;

/// Files by their path inside the volume.
pub(crate) type Files = BTreeMap<String, Content>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
}

pub(crate) fn config_map(
    source: &ConfigMapVolumeSource,
    namespace: &str,
    sources: &dyn Sources,
) -> Result<Files, String> {
    let optional = source.optional == Some(true);
    let mut data: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    match sources.config_map(namespace, &source.name) {
        Some(map) => {
            let text = map.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
            let binary = map.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0));
            data.extend(text.chain(binary));
        }
        None if optional => {}
        None => return Err(format!("configmap {:?} not found", source.name)),
    }
    let missing = "configmap references non-existent config key";
    select(&data, source.items.as_deref(), source.default_mode, optional, missing)
}

pub(crate) fn secret(
    source: &SecretVolumeSource,
    namespace: &str,
    sources: &dyn Sources,
) -> Result<Files, String> {
    let optional = source.optional == Some(true);
    let name = source.secret_name.as_deref().unwrap_or_default();
    let data = match sources.secret(namespace, name) {
        Some(secret) => secret.data.into_iter().flatten().map(|(k, v)| (k, v.0)).collect(),
        None if optional => BTreeMap::new(),
        None => return Err(format!("secret {name:?} not found")),
    };
    let missing = "references non-existent secret key";
    select(&data, source.items.as_deref(), source.default_mode, optional, missing)
}

fn select(
    data: &BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    optional: bool,
    missing: &str,
) -> Result<Files, String> {
    let mode = |given: Option<i32>| {
        given.or(default_mode).and_then(|mode| u32::try_from(mode).ok()).unwrap_or(DEFAULT_MODE)
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        let all = data
            .iter()
            .map(|(key, bytes)| (key.clone(), Content { bytes: bytes.clone(), mode: mode(None) }));
        return Ok(all.collect());
    };
    let mut files = Files::new();
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => {
                let content = Content { bytes: bytes.clone(), mode: mode(item.mode) };
                files.insert(item.path.clone(), content);
            }
            None if optional => {}
            None => return Err(format!("{missing}: {}", item.key)),
        }
    }
    Ok(files)
}
