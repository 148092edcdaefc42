//! Brings the images of an archive into the store: check, unpack, and only then make visible.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, syncfs};

use crate::compress::{Compression, Decoder, read_full};
use crate::digest::{Digest, HashingReader};
use crate::error::{LoadError, StoreError};
use crate::extract::extract;
use crate::image::LoadedImage;
use crate::index::{ImageRecord, Index, LayerRecord};
use crate::limits::Limits;
use crate::manifest::{Described, DescribedLayer, check_blob, describe};
use crate::merged::{MergedView, open_root};
use crate::source::Source;
use crate::store::ImageStore;

/// A layer that is unpacked but not yet part of the store.
struct Unpacked {
    chain: Digest,
    record: LayerRecord,
}

impl ImageStore {
    /// Loads all images of an OCI or docker archive (plain, gzip or zstd) for this machine's platform.
    /// Either all of them become visible, or none.
    pub fn load(&self, reader: impl Read) -> Result<Vec<LoadedImage>, LoadError> {
        let file = self.stage(reader)?;
        self.load_source(&Source::archive(file)?)
    }

    /// As [`Self::load`], from an archive file or an OCI layout directory. A plain tar file is read in place.
    pub fn load_path(&self, path: &Path) -> Result<Vec<LoadedImage>, LoadError> {
        let metadata = fs::metadata(path).map_err(LoadError::Read)?;
        if metadata.is_dir() {
            return self.load_source(&Source::directory(path)?);
        }
        if !metadata.is_file() {
            return Err(LoadError::Read(io::Error::other("neither a file nor a directory")));
        }
        let mut head = [0; 4];
        let n = read_full(&mut File::open(path).map_err(LoadError::Read)?, &mut head)
            .map_err(LoadError::Read)?;
        let file = File::open(path).map_err(LoadError::Read)?;
        match Compression::detect(&head[..n]) {
            Compression::Plain => self.load_source(&Source::archive(file)?),
            _ => self.load(file),
        }
    }

    /// Copies a stream, decompressed, into a file that has no name, so that a crash leaves nothing.
    fn stage(&self, reader: impl Read) -> Result<File, LoadError> {
        let write = |step| {
            move |source| LoadError::Write { step, object: "the archive".to_owned(), source }
        };
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = rustix::fs::open(self.temporary(), flags, Mode::RUSR | Mode::WUSR);
        let mut file: File = fd.map_err(|errno| write("stage")(errno.into()))?.into();
        let mut stream = Decoder::new(reader, self.limits()).map_err(LoadError::Read)?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let n = read_full(&mut stream, &mut buffer).map_err(LoadError::Read)?;
            if n == 0 {
                return Ok(file);
            }
            file.write_all(&buffer[..n]).map_err(write("stage"))?;
        }
    }

    fn load_source(&self, source: &Source) -> Result<Vec<LoadedImage>, LoadError> {
        let images = describe(source)?;
        // One at a time: two archives with the same layers unpack them once.
        let _loading = self.lock_loading();
        let mut load = Load { store: self, index: self.index().clone(), unpacked: Vec::new() };
        let result = load.run(source, images);
        if result.is_err() {
            load.discard();
        }
        result
    }
}

/// One load in progress, on a copy of the index.
struct Load<'a> {
    store: &'a ImageStore,
    index: Index,
    unpacked: Vec<Unpacked>,
}

impl Load<'_> {
    fn run(
        &mut self,
        source: &Source,
        images: Vec<Described>,
    ) -> Result<Vec<LoadedImage>, LoadError> {
        let mut loaded = Vec::new();
        for image in &images {
            let chains = self.unpack(source, image)?;
            self.keep_documents(image)?;
            self.record(image, chains);
            let id = image.id.to_string();
            if image.names.is_empty() {
                loaded.push(LoadedImage { name: None, id });
            } else {
                let named = |name: &crate::Reference| LoadedImage {
                    name: Some(name.to_string()),
                    id: id.clone(),
                };
                loaded.extend(image.names.iter().map(named));
            }
        }
        self.commit()?;
        Ok(loaded)
    }

    /// Unpacks what the store does not have yet; returns the chain, bottom first.
    fn unpack(&mut self, source: &Source, image: &Described) -> Result<Vec<Digest>, LoadError> {
        let mut chains: Vec<Digest> = Vec::new();
        let mut budget = self.store.limits().image;
        for (number, layer) in image.layers.iter().enumerate() {
            let chain = Digest::chain(chains.last(), &layer.diff_id);
            let size = match self.index.layers.get(&chain) {
                Some(known) => known.size,
                None => self.unpack_layer(source, layer, number, &chains, chain.clone(), budget)?,
            };
            budget = budget.saturating_sub(size);
            chains.push(chain);
        }
        Ok(chains)
    }

    fn unpack_layer(
        &mut self,
        source: &Source,
        layer: &DescribedLayer,
        number: usize,
        below: &[Digest],
        chain: Digest,
        budget: u64,
    ) -> Result<u64, LoadError> {
        let object = format!("layer {} ({})", number + 1, layer.diff_id);
        let record = LayerRecord { directory: self.index.next_layer, size: 0 };
        self.index.next_layer += 1;
        self.unpacked.push(Unpacked { chain: chain.clone(), record });
        let section =
            source.open(&layer.member)?.ok_or_else(|| LoadError::Missing(object.clone()))?;
        if let Some((_, size)) = layer.stored.as_ref().filter(|(_, size)| *size != section.len()) {
            return Err(LoadError::Size { object, expected: *size, actual: section.len() });
        }
        let write = |source| LoadError::Write { step: "create", object: object.clone(), source };
        let target = self.temporary(record.directory).join("fs");
        fs::create_dir_all(&target).map_err(write)?;
        let mut roots = vec![target];
        roots.extend(below.iter().rev().map(|chain| self.layer_path(chain)));
        let view = MergedView::open(&roots).map_err(write)?;
        let size = unpack_stream(&object, section, layer, view, budget, self.store.limits())?;
        let record = LayerRecord { size, ..record };
        self.index.layers.insert(chain, record);
        Ok(size)
    }

    /// Where a layer is now: in the store, or still in the temporary directory.
    fn layer_path(&self, chain: &Digest) -> PathBuf {
        match self.unpacked.iter().find(|unpacked| unpacked.chain == *chain) {
            Some(unpacked) => self.temporary(unpacked.record.directory).join("fs"),
            None => self.store.layer_path(&self.index, chain),
        }
    }

    fn temporary(&self, directory: u64) -> PathBuf {
        self.store.temporary().join(directory.to_string())
    }

    fn keep_documents(&self, image: &Described) -> Result<(), LoadError> {
        for (digest, bytes) in &image.documents {
            let write =
                |source| LoadError::Write { step: "write", object: digest.to_string(), source };
            let temporary = self.store.temporary().join(digest.hex());
            fs::write(&temporary, bytes).map_err(write)?;
            fs::rename(&temporary, self.store.blob_path(digest)).map_err(write)?;
        }
        Ok(())
    }

    fn record(&mut self, image: &Described, layers: Vec<Digest>) {
        let names: Vec<String> = image.names.iter().map(ToString::to_string).collect();
        for other in self.index.images.values_mut() {
            other.names.retain(|name| !names.contains(name));
        }
        let record = self.index.images.entry(image.id.clone()).or_insert_with(|| ImageRecord {
            created: image.created,
            config: image.config.clone(),
            layers,
            names: Default::default(),
            digests: Default::default(),
            manifest: None,
        });
        if let Some(manifest) = &image.manifest {
            let digest = |name: &crate::Reference| format!("{}@{manifest}", name.repository());
            record.digests.extend(image.names.iter().map(digest));
            record.manifest = Some(manifest.clone());
        }
        record.names.extend(names);
    }

    /// Puts everything on disk with one flush, then lets it be seen.
    fn commit(&mut self) -> Result<(), LoadError> {
        let write =
            |step| move |source| LoadError::Write { step, object: "layers".to_owned(), source };
        let layers = self.store.layers();
        for unpacked in &self.unpacked {
            let name = unpacked.record.directory.to_string();
            fs::rename(self.temporary(unpacked.record.directory), layers.join(name))
                .map_err(write("move"))?;
        }
        let directory = open_root(&layers).map_err(write("open"))?;
        syncfs(&directory).map_err(|errno| write("flush")(errno.into()))?;
        self.store.replace_index(self.index.clone()).map_err(LoadError::Store)?;
        self.unpacked.clear();
        Ok(())
    }

    /// Removes what a failed load has written; whatever stays is removed when the store opens next.
    fn discard(&self) {
        for unpacked in &self.unpacked {
            let name = unpacked.record.directory.to_string();
            for directory in [self.store.temporary(), self.store.layers()] {
                if let Err(error) = self.store.to_trash(&directory.join(&name)) {
                    tracing::warn!(%error, layer = name, "cannot remove the layer of a failed load");
                }
            }
        }
        if let Err(error) = self.store.sweep_blobs() {
            let error: StoreError = error;
            tracing::warn!(%error, "cannot remove the documents of a failed load");
        }
    }
}

/// One pass: stored bytes are hashed, decompressed, hashed again and unpacked; then all promises are checked.
fn unpack_stream(
    object: &str,
    section: crate::source::Section,
    layer: &DescribedLayer,
    view: MergedView,
    budget: u64,
    limits: Limits,
) -> Result<u64, LoadError> {
    let expected_size = section.len();
    let stream = Decoder::new(HashingReader::new(section), limits).map_err(LoadError::Read)?;
    let (written, stream) = extract(object, HashingReader::new(stream), view, budget)?;
    let (diff_id, _, decoder) = stream.finish().map_err(LoadError::Read)?;
    let (stored, size, _) = decoder.into_inner().finish().map_err(LoadError::Read)?;
    if let Some((digest, _)) = &layer.stored {
        check_blob(object, digest, expected_size, &stored, size)?;
    }
    if diff_id != layer.diff_id {
        let (expected, actual) = (layer.diff_id.to_string(), diff_id.to_string());
        return Err(LoadError::Digest {
            object: format!("{object}, uncompressed,"),
            expected,
            actual,
        });
    }
    Ok(written)
}

#[cfg(test)]
mod tests;
