//! A disk in memory that records what is done to it and can refuse.

use std::io;
use std::sync::{Arc, Mutex};

use redb::{Builder, Database, StorageBackend};

use crate::disk::{self, Opener};

/// One call that changes the disk.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    calls: Vec<Call>,
    refuse: Option<io::ErrorKind>,
}

/// Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(super) struct SimulatedDisk(Arc<Mutex<Inner>>);

impl SimulatedDisk {
    pub(super) fn with_bytes(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Inner { bytes, ..Inner::default() })))
    }

    /// A disk that holds an empty store, with nothing recorded.
    pub(super) fn formatted() -> Self {
        let disk = Self::default();
        let database = disk.database().unwrap();
        disk::format(&database).unwrap();
        drop(database);
        disk.0.lock().unwrap().calls.clear();
        disk
    }

    pub(super) fn database(&self) -> Result<Database, redb::Error> {
        let mut builder = Builder::new();
        builder.set_cache_size(1 << 20).set_check_integrity_on_open(true);
        Ok(builder.create_with_backend(self.clone())?)
    }

    pub(super) fn opener(&self) -> Opener {
        let disk = self.clone();
        Box::new(move || disk.database())
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.0.lock().unwrap().calls.clone()
    }

    /// From now on every change fails like this, or none.
    pub(super) fn refuse(&self, kind: Option<io::ErrorKind>) {
        self.0.lock().unwrap().refuse = kind;
    }

    fn change(&self, call: Call) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        if let Some(kind) = inner.refuse {
            return Err(kind.into());
        }
        apply(&mut inner.bytes, &call);
        inner.calls.push(call);
        Ok(())
    }
}

/// What a call does to the bytes of a file.
pub(super) fn apply(bytes: &mut Vec<u8>, call: &Call) {
    match call {
        Call::Sync => {}
        Call::SetLen(length) => bytes.resize(usize::try_from(*length).unwrap(), 0),
        Call::Write(offset, data) => {
            let start = usize::try_from(*offset).unwrap();
            if bytes.len() < start + data.len() {
                bytes.resize(start + data.len(), 0);
            }
            bytes[start..start + data.len()].copy_from_slice(data);
        }
    }
}

impl StorageBackend for SimulatedDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let found =
            inner.bytes.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Call::SetLen(length))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Call::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Call::Write(offset, data.to_vec()))
    }
}

/// Small, repeatable random numbers (xorshift).
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}
