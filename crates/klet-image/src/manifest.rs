//! Reads what describes an image: OCI index, manifest and configuration, docker's `manifest.json`.
//!
//! Sources: OCI image specification 1.1; docker image specification 1.2. Documents that could be read in two ways are refused.

mod documents;

use jiff::Timestamp;

use crate::digest::Digest;
use crate::error::LoadError;
use crate::image::ImageConfig;
use crate::limits::{MAX_CONFIG, MAX_IMAGES, MAX_INDEX_DEPTH, MAX_LAYERS, MAX_MANIFEST};
use crate::reference::Reference;
use crate::source::Source;
use documents::{Configuration, Descriptor, DockerImage, OciDocument, Platform, parse};

/// An image as its archive describes it: nothing is unpacked yet.
pub(crate) struct Described {
    pub(crate) names: Vec<Reference>,
    /// Digest of the configuration.
    pub(crate) id: Digest,
    /// Digest of the OCI manifest, if there is one.
    pub(crate) manifest: Option<Digest>,
    /// Documents to keep, by digest.
    pub(crate) documents: Vec<(Digest, Vec<u8>)>,
    pub(crate) created: Option<Timestamp>,
    pub(crate) config: ImageConfig,
    /// Bottom layer first.
    pub(crate) layers: Vec<DescribedLayer>,
}

/// One layer of a [`Described`] image.
pub(crate) struct DescribedLayer {
    /// Where it is in the source.
    pub(crate) member: String,
    /// Digest and size of the stored form, if promised.
    pub(crate) stored: Option<(Digest, u64)>,
    /// Digest of the uncompressed tar stream.
    pub(crate) diff_id: Digest,
}

/// Everything the source holds for this machine.
pub(crate) fn describe(source: &Source) -> Result<Vec<Described>, LoadError> {
    if let Some(bytes) = source.document("index.json", MAX_MANIFEST)? {
        oci(source, &bytes)
    } else if let Some(bytes) = source.document("manifest.json", MAX_MANIFEST)? {
        docker(source, &bytes)
    } else {
        Err(LoadError::NotAnArchive)
    }
}

fn oci(source: &Source, index: &[u8]) -> Result<Vec<Described>, LoadError> {
    let document: OciDocument = parse("index.json", index)?;
    let descriptors = document.into_index("index.json", None)?;
    bounded("index.json", "images", descriptors.len(), MAX_IMAGES)?;
    let (mut images, mut refused) = (Vec::new(), Vec::new());
    for descriptor in descriptors.into_iter().filter(|descriptor| !descriptor.is_attestation()) {
        let name = descriptor.name().map_err(LoadError::Name)?;
        match resolve_descriptor(source, descriptor, 0)? {
            Ok(mut image) => {
                image.names.extend(name);
                images.push(image);
            }
            Err(platform) => refused.push(platform),
        }
    }
    if images.is_empty() {
        let found = if refused.is_empty() { "nothing".to_owned() } else { refused.join(", ") };
        return Err(LoadError::Platform { wanted: Platform::host().to_string(), found });
    }
    Ok(images)
}

/// The image a descriptor leads to, or the platforms it offers instead of ours.
fn resolve_descriptor(
    source: &Source,
    descriptor: Descriptor,
    depth: usize,
) -> Result<Result<Described, String>, LoadError> {
    if let Some(platform) = descriptor.platform.as_ref().filter(|platform| !platform.fits()) {
        return Ok(Err(platform.to_string()));
    }
    let object = descriptor.digest.to_string();
    let bytes = blob(source, &descriptor, MAX_MANIFEST)?;
    let document: OciDocument = parse(&object, &bytes)?;
    if descriptor.is_manifest() {
        let (config, layers) = document.into_manifest(&object, &descriptor.media_type)?;
        return image(source, (descriptor.digest, bytes), &config, layers);
    }
    if !descriptor.is_index() {
        let reason =
            format!("media type {:?} is no image manifest or index", descriptor.media_type);
        return Err(LoadError::Document { object, reason });
    }
    bounded(&object, "nested indexes", depth + 1, MAX_INDEX_DEPTH)?;
    let mut choices = document.into_index(&object, Some(&descriptor.media_type))?;
    bounded(&object, "manifests", choices.len(), MAX_IMAGES)?;
    choices.retain(|choice| !choice.is_attestation());
    // The order of equals is the publisher's preference.
    choices.sort_by_key(|choice| choice.platform.as_ref().map_or(0, Platform::rank));
    let mut refused = Vec::new();
    for choice in choices {
        match resolve_descriptor(source, choice, depth + 1)? {
            Err(platform) => refused.push(platform),
            found => return Ok(found),
        }
    }
    Ok(Err(refused.join(", ")))
}

fn image(
    source: &Source,
    manifest: (Digest, Vec<u8>),
    config: &Descriptor,
    layers: Vec<Descriptor>,
) -> Result<Result<Described, String>, LoadError> {
    let object = manifest.0.to_string();
    config.expect_config(&object)?;
    let stored = layers.into_iter().map(|layer| {
        layer.expect_layer(&object)?;
        Ok((layer.member(), Some((layer.digest, layer.size))))
    });
    let stored = stored.collect::<Result<Vec<_>, LoadError>>()?;
    let bytes = blob(source, config, MAX_CONFIG)?;
    let described = described(config.digest.clone(), bytes, stored)?;
    Ok(described.map(|mut image| {
        image.manifest = Some(manifest.0.clone());
        image.documents.push(manifest);
        image
    }))
}

fn docker(source: &Source, manifest: &[u8]) -> Result<Vec<Described>, LoadError> {
    let entries: Vec<DockerImage> = parse("manifest.json", manifest)?;
    bounded("manifest.json", "images", entries.len(), MAX_IMAGES)?;
    if entries.is_empty() {
        return Err(LoadError::NotAnArchive);
    }
    entries.into_iter().map(|entry| docker_image(source, entry)).collect()
}

fn docker_image(source: &Source, entry: DockerImage) -> Result<Described, LoadError> {
    let bytes = source.document(&entry.config, MAX_CONFIG)?;
    let bytes = bytes.ok_or_else(|| LoadError::Missing(entry.config.clone()))?;
    let names = entry
        .repo_tags
        .unwrap_or_default()
        .iter()
        .map(|tag| Reference::parse(tag))
        .collect::<Result<_, _>>();
    let names = names.map_err(LoadError::Name)?;
    let layers =
        entry.layers.unwrap_or_default().into_iter().map(|member| (member, None)).collect();
    match described(Digest::of(&bytes), bytes, layers)? {
        Ok(image) => Ok(Described { names, ..image }),
        Err(found) => Err(LoadError::Platform { wanted: Platform::host().to_string(), found }),
    }
}

type Stored = (String, Option<(Digest, u64)>);

fn described(
    id: Digest,
    bytes: Vec<u8>,
    stored: Vec<Stored>,
) -> Result<Result<Described, String>, LoadError> {
    let object = format!("configuration {id}");
    let configuration: Configuration = parse(&object, &bytes)?;
    let platform = configuration.platform();
    if !platform.fits() {
        return Ok(Err(platform.to_string()));
    }
    bounded(&object, "layers", stored.len(), MAX_LAYERS)?;
    let (created, diff_ids, config) = configuration.into_parts();
    if diff_ids.len() != stored.len() {
        let reason = format!("{} diff_ids for {} layers", diff_ids.len(), stored.len());
        return Err(LoadError::Document { object, reason });
    }
    let layers = stored.into_iter().zip(diff_ids);
    let layers = layers
        .map(|((member, stored), diff_id)| DescribedLayer { member, stored, diff_id })
        .collect();
    let documents = vec![(id.clone(), bytes)];
    Ok(Ok(Described { names: Vec::new(), id, manifest: None, documents, created, config, layers }))
}

/// Reads a document by its descriptor and checks size and digest.
fn blob(source: &Source, descriptor: &Descriptor, max: u64) -> Result<Vec<u8>, LoadError> {
    let object = descriptor.digest.to_string();
    let bytes = source.document(&descriptor.member(), max)?;
    let bytes = bytes.ok_or_else(|| LoadError::Missing(format!("blob {object}")))?;
    check_blob(
        &object,
        &descriptor.digest,
        descriptor.size,
        &Digest::of(&bytes),
        bytes.len() as u64,
    )?;
    Ok(bytes)
}

/// Compares what was promised with what was read.
pub(crate) fn check_blob(
    object: &str,
    digest: &Digest,
    size: u64,
    actual: &Digest,
    actual_size: u64,
) -> Result<(), LoadError> {
    let object = object.to_owned();
    if size != actual_size {
        return Err(LoadError::Size { object, expected: size, actual: actual_size });
    }
    if digest != actual {
        return Err(LoadError::Digest {
            object,
            expected: digest.to_string(),
            actual: actual.to_string(),
        });
    }
    Ok(())
}

fn bounded(object: &str, what: &str, count: usize, max: usize) -> Result<(), LoadError> {
    if count <= max {
        return Ok(());
    }
    Err(LoadError::Document {
        object: object.to_owned(),
        reason: format!("more than {max} {what}"),
    })
}
