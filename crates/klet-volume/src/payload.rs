//! What a configMap, secret, downwardAPI or projected volume contains: files with modes.

use std::collections::BTreeMap;

use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, DownwardAPIVolumeFile, DownwardAPIVolumeSource, KeyToPath,
    ProjectedVolumeSource, SecretVolumeSource, VolumeProjection,
};

use crate::{Sources, downward};

/// Mode of files that say none.
const DEFAULT_MODE: u32 = 0o644;
const MODE_BITS: u32 = 0o777;
/// Components of a file's path inside its volume.
const MAX_DEPTH: usize = 64;

/// Files by their path inside the volume.
pub(crate) type Files = BTreeMap<String, Content>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: u32,
}

type Data = BTreeMap<String, Vec<u8>>;

/// Collects the files of a pod's volumes.
pub(crate) struct Payload<'a> {
    pod: &'a Pod,
    sources: &'a dyn Sources,
}

/// How keys become files.
#[derive(Clone, Copy)]
struct Selection<'a> {
    items: Option<&'a [KeyToPath]>,
    default_mode: Option<i32>,
    optional: bool,
    /// The kubelet's text for a key that is not there.
    missing: &'static str,
}

impl<'a> Payload<'a> {
    pub(crate) fn new(pod: &'a Pod, sources: &'a dyn Sources) -> Self {
        Self { pod, sources }
    }

    pub(crate) fn config_map(&self, source: &ConfigMapVolumeSource) -> Result<Files, String> {
        let (items, optional) = (source.items.as_deref(), source.optional == Some(true));
        self.of_config_map(&source.name, items, source.default_mode, optional)
    }

    pub(crate) fn secret(&self, source: &SecretVolumeSource) -> Result<Files, String> {
        let (items, optional) = (source.items.as_deref(), source.optional == Some(true));
        let name = source.secret_name.as_deref().unwrap_or_default();
        self.of_secret(name, items, source.default_mode, optional)
    }

    pub(crate) fn downward_api(&self, source: &DownwardAPIVolumeSource) -> Result<Files, String> {
        self.of_downward_api(source.items.as_deref().unwrap_or_default(), source.default_mode)
    }

    /// The union of all sources; of two files with one path the later one counts.
    pub(crate) fn projected(&self, source: &ProjectedVolumeSource) -> Result<Files, String> {
        let mut files = Files::new();
        for projection in source.sources.iter().flatten() {
            files.extend(self.projection(projection, source.default_mode)?);
        }
        Ok(files)
    }

    fn projection(
        &self,
        source: &VolumeProjection,
        default_mode: Option<i32>,
    ) -> Result<Files, String> {
        if let Some(map) = &source.config_map {
            let optional = map.optional == Some(true);
            return self.of_config_map(&map.name, map.items.as_deref(), default_mode, optional);
        }
        if let Some(secret) = &source.secret {
            let optional = secret.optional == Some(true);
            return self.of_secret(&secret.name, secret.items.as_deref(), default_mode, optional);
        }
        if let Some(fields) = &source.downward_api {
            return self.of_downward_api(fields.items.as_deref().unwrap_or_default(), default_mode);
        }
        Err(if source.service_account_token.is_some() {
            "failed to fetch token: klet does not issue service account tokens".to_owned()
        } else if source.cluster_trust_bundle.is_some() {
            "projected source clusterTrustBundle is not supported by klet".to_owned()
        } else {
            "projected source of this kind is not supported by klet".to_owned()
        })
    }

    fn of_config_map(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        default_mode: Option<i32>,
        optional: bool,
    ) -> Result<Files, String> {
        let mut data = Data::new();
        match self.sources.config_map(self.namespace(), name) {
            Some(map) => {
                let text = map.data.into_iter().flatten().map(|(key, v)| (key, v.into_bytes()));
                let binary = map.binary_data.into_iter().flatten().map(|(key, v)| (key, v.0));
                data.extend(text.chain(binary));
            }
            None if optional => {}
            None => return Err(format!("configmap {name:?} not found")),
        }
        let missing = "configmap references non-existent config key";
        select(data, Selection { items, default_mode, optional, missing })
    }

    fn of_secret(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        default_mode: Option<i32>,
        optional: bool,
    ) -> Result<Files, String> {
        let data = match self.sources.secret(self.namespace(), name) {
            Some(secret) => secret.data.into_iter().flatten().map(|(k, v)| (k, v.0)).collect(),
            None if optional => Data::new(),
            None => return Err(format!("secret {name:?} not found")),
        };
        let missing = "references non-existent secret key";
        select(data, Selection { items, default_mode, optional, missing })
    }

    fn of_downward_api(
        &self,
        items: &[DownwardAPIVolumeFile],
        default_mode: Option<i32>,
    ) -> Result<Files, String> {
        let mut files = Files::new();
        for item in items {
            let value = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => downward::field(self.pod, &field.field_path)
                    .ok_or_else(|| format!("unsupported fieldPath: {}", field.field_path))?,
                (None, Some(selector)) => self.sources.resource(self.pod, selector)?,
                (None, None) => {
                    return Err(format!(
                        "{}: one of fieldRef and resourceFieldRef is required",
                        item.path
                    ));
                }
            };
            let content =
                Content { bytes: value.into_bytes(), mode: mode(item.mode, default_mode) };
            files.insert(checked(&item.path)?, content);
        }
        Ok(files)
    }

    fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or("default")
    }
}

fn select(data: Data, wanted: Selection<'_>) -> Result<Files, String> {
    let default_mode = wanted.default_mode;
    let Some(items) = wanted.items.filter(|items| !items.is_empty()) else {
        return data
            .into_iter()
            .map(|(key, bytes)| {
                Ok((checked(&key)?, Content { bytes, mode: mode(None, default_mode) }))
            })
            .collect();
    };
    let mut files = Files::new();
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => {
                let content = Content { bytes: bytes.clone(), mode: mode(item.mode, default_mode) };
                files.insert(checked(&item.path)?, content);
            }
            None if wanted.optional => {}
            None => return Err(format!("{}: {}", wanted.missing, item.key)),
        }
    }
    Ok(files)
}

fn mode(given: Option<i32>, default: Option<i32>) -> u32 {
    given.or(default).and_then(|mode| u32::try_from(mode).ok()).unwrap_or(DEFAULT_MODE) & MODE_BITS
}

/// The path, if it stays inside the volume and clear of the names that the writer needs itself.
/// Validation refuses others, but an object need not have passed it to be here.
fn checked(path: &str) -> Result<String, String> {
    let plain =
        |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let good = !path.starts_with('/')
        && !path.starts_with("..")
        && (1..=MAX_DEPTH).contains(&parts.len())
        && parts.iter().all(|part| plain(part));
    if good {
        Ok(parts.join("/"))
    } else {
        Err(format!("invalid path {path:?}: must stay inside the volume"))
    }
}
