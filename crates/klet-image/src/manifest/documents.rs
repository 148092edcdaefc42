//! The JSON documents of an image, and their media types.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::digest::Digest;
use crate::error::LoadError;
use crate::image::ImageConfig;
use crate::reference::{Reference, ReferenceError};

const INDEX_TYPES: &[&str] = &[
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const MANIFEST_TYPES: &[&str] = &[
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const CONFIG_TYPES: &[&str] =
    &["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
const LAYER_TYPES: &[&str] = &[
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

/// Full image name, as containerd and docker write it.
const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// Full name or only a tag.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
const ATTESTATION: &str = "vnd.docker.reference.type";

/// Parses a document and names it in the error.
pub(super) fn parse<T: DeserializeOwned>(object: &str, bytes: &[u8]) -> Result<T, LoadError> {
    serde_json::from_slice(bytes)
        .map_err(|source| LoadError::Json { object: object.to_owned(), source })
}

/// Points at a blob.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    pub(super) fn member(&self) -> String {
        format!("blobs/sha256/{}", self.digest.hex())
    }

    pub(super) fn is_manifest(&self) -> bool {
        MANIFEST_TYPES.contains(&self.media_type.as_str())
    }

    pub(super) fn is_index(&self) -> bool {
        INDEX_TYPES.contains(&self.media_type.as_str())
    }

    /// Provenance that builders store beside the images.
    pub(super) fn is_attestation(&self) -> bool {
        self.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(ATTESTATION))
    }

    /// The name in the annotations; a lone tag names nothing.
    pub(super) fn name(&self) -> Result<Option<Reference>, ReferenceError> {
        let Some(annotations) = &self.annotations else { return Ok(None) };
        if let Some(name) = annotations.get(CONTAINERD_NAME) {
            return Reference::parse(name).map(Some);
        }
        match annotations.get(REF_NAME) {
            Some(name) if name.contains([':', '/']) => Reference::parse(name).map(Some),
            _ => Ok(None),
        }
    }

    pub(super) fn expect_config(&self, object: &str) -> Result<(), LoadError> {
        expect(object, "configuration", &self.media_type, CONFIG_TYPES)
    }

    pub(super) fn expect_layer(&self, object: &str) -> Result<(), LoadError> {
        expect(object, "layer", &self.media_type, LAYER_TYPES)
    }
}

fn expect(object: &str, what: &str, media_type: &str, accepted: &[&str]) -> Result<(), LoadError> {
    if accepted.contains(&media_type) {
        return Ok(());
    }
    Err(LoadError::Document {
        object: object.to_owned(),
        reason: format!("{what} media type {media_type:?} is not supported"),
    })
}

/// An index or a manifest: which of the two is checked, not guessed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OciDocument {
    schema_version: Option<u64>,
    media_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
}

impl OciDocument {
    pub(super) fn into_index(
        self,
        object: &str,
        expected: Option<&str>,
    ) -> Result<Vec<Descriptor>, LoadError> {
        self.check(object, expected, INDEX_TYPES)?;
        match self {
            Self { manifests: Some(manifests), config: None, layers: None, .. } => Ok(manifests),
            _ => Err(ambiguous(
                object,
                "an index must have manifests, and neither config nor layers",
            )),
        }
    }

    pub(super) fn into_manifest(
        self,
        object: &str,
        expected: &str,
    ) -> Result<(Descriptor, Vec<Descriptor>), LoadError> {
        self.check(object, Some(expected), MANIFEST_TYPES)?;
        match self {
            Self { manifests: None, config: Some(config), layers: Some(layers), .. } => {
                Ok((config, layers))
            }
            _ => Err(ambiguous(object, "a manifest must have config and layers, and no manifests")),
        }
    }

    fn check(
        &self,
        object: &str,
        expected: Option<&str>,
        accepted: &[&str],
    ) -> Result<(), LoadError> {
        if self.schema_version != Some(2) || self.fs_layers.is_some() {
            return Err(ambiguous(object, "only schema version 2 is supported"));
        }
        let Some(own) = self.media_type.as_deref() else { return Ok(()) };
        if !accepted.contains(&own) || expected.is_some_and(|expected| expected != own) {
            return Err(ambiguous(object, "its mediaType contradicts how it is referred to"));
        }
        Ok(())
    }
}

fn ambiguous(object: &str, reason: &str) -> LoadError {
    LoadError::Document { object: object.to_owned(), reason: reason.to_owned() }
}

/// An entry of docker's `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    pub(super) config: String,
    pub(super) repo_tags: Option<Vec<String>>,
    pub(super) layers: Option<Vec<String>>,
}

/// What machine an image is for.
#[derive(Debug, Deserialize)]
pub(super) struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl Platform {
    /// This machine.
    pub(super) fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }
    }

    /// Whether this machine runs it. Newer x86-64 levels are left out: the base level always runs.
    pub(super) fn fits(&self) -> bool {
        let host = Self::host();
        let variant = match (self.architecture.as_str(), self.variant.as_deref()) {
            ("amd64", variant) => matches!(variant, None | Some("" | "v1")),
            ("arm64", variant) => matches!(variant, None | Some("" | "v8")),
            _ => true,
        };
        self.os == host.os && self.architecture == host.architecture && variant
    }

    /// Order among those that fit: an exact one first.
    pub(super) fn rank(&self) -> u8 {
        u8::from(self.variant.is_some())
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

/// The image configuration. Docker writes `null` for what is empty.
#[derive(Debug, Deserialize)]
pub(super) struct Configuration {
    #[serde(default)]
    created: Option<String>,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    config: Option<RawConfig>,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Option<Vec<Digest>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
    exposed_ports: Option<BTreeMap<String, IgnoredAny>>,
    volumes: Option<BTreeMap<String, IgnoredAny>>,
    labels: Option<BTreeMap<String, String>>,
}

impl Configuration {
    pub(super) fn platform(&self) -> Platform {
        let (os, architecture) = (self.os.clone(), self.architecture.clone());
        Platform { os, architecture, variant: self.variant.clone() }
    }

    pub(super) fn into_parts(self) -> (Option<Timestamp>, Vec<Digest>, ImageConfig) {
        let raw = self.config.unwrap_or_default();
        let config = ImageConfig {
            user: raw.user.unwrap_or_default(),
            env: raw.env.unwrap_or_default(),
            entrypoint: raw.entrypoint.unwrap_or_default(),
            cmd: raw.cmd.unwrap_or_default(),
            working_dir: raw.working_dir.unwrap_or_default(),
            stop_signal: raw.stop_signal.filter(|signal| !signal.is_empty()),
            exposed_ports: raw.exposed_ports.unwrap_or_default().into_keys().collect(),
            volumes: raw.volumes.unwrap_or_default().into_keys().collect(),
            labels: raw.labels.unwrap_or_default(),
        };
        let created = self.created.and_then(|text| text.parse().ok());
        (created, self.rootfs.diff_ids.unwrap_or_default(), config)
    }
}
