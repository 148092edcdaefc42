//! The only module that knows redb: a table of objects and the last version.

use std::collections::BTreeSet;
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::Value;

use crate::error::WriteError;
use crate::key::Key;
use crate::state::Object;

/// [`Key::encode`] → version (8 bytes, little endian) and the object as JSON.
const OBJECTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("objects");
/// `version`, `format` → number.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The layout of this file; a store of another one is not opened.
const FORMAT: u64 = 1;
/// The version of an empty store: 0 means "any" in the API.
pub(crate) const FIRST: u64 = 1;

/// What opens the database, the first time and again after a failure.
pub(crate) type Opener = Box<dyn Fn() -> Result<Database, redb::Error> + Send>;

/// The database, reopened after a failed commit: redb refuses a handle that saw an
/// I/O error, and only a fresh look tells what reached the disk.
pub(crate) struct Disk {
    opener: Opener,
    database: Option<Database>,
    /// Keys of commits that failed: they may be on the disk although their writers were
    /// told otherwise, so the next commit writes what memory says of them.
    doubtful: BTreeSet<Key>,
}

/// What a store file holds.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) objects: Vec<Object>,
    pub(crate) version: u64,
}

/// Why a file's contents could not be read.
#[derive(Debug)]
pub(crate) enum LoadError {
    Damaged(String),
    Redb(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for LoadError {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

/// Writes the tables of an empty store.
pub(crate) fn format(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        transaction.open_table(OBJECTS)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert("format", FORMAT)?;
        meta.insert("version", FIRST)?;
    }
    transaction.commit()?;
    Ok(())
}

impl Disk {
    /// Opens the database and reads all of it.
    pub(crate) fn load(opener: Opener) -> Result<(Self, Contents), LoadError> {
        let database = opener()?;
        let contents = read_all(&database)?;
        Ok((Self { opener, database: Some(database), doubtful: BTreeSet::new() }, contents))
    }

    /// Keys that the next commit must write again; see the field.
    pub(crate) fn doubtful(&self) -> impl Iterator<Item = &Key> {
        self.doubtful.iter()
    }

    /// Writes the objects (`None` removes) and the version, durably, all or nothing.
    pub(crate) fn commit(
        &mut self,
        writes: &[(Key, Option<Object>)],
        version: u64,
    ) -> Result<(), WriteError> {
        let result = self.database().and_then(|database| write(database, writes, version));
        match result {
            Ok(()) => self.doubtful.clear(),
            Err(_) => {
                self.database = None;
                self.doubtful.extend(writes.iter().map(|(key, _)| key.clone()));
            }
        }
        result.map_err(refusal)
    }

    fn database(&mut self) -> Result<&Database, redb::Error> {
        if self.database.is_none() {
            self.database = Some((self.opener)()?);
        }
        // Filled in just above.
        self.database.as_ref().ok_or(redb::Error::DatabaseClosed)
    }
}

fn write(
    database: &Database,
    writes: &[(Key, Option<Object>)],
    version: u64,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        for (key, object) in writes {
            let key = key.encode();
            match object {
                Some(object) => objects.insert(key.as_slice(), encode(object).as_slice())?,
                None => objects.remove(key.as_slice())?,
            };
        }
        transaction.open_table(META)?.insert("version", version)?;
    }
    transaction.commit()?;
    Ok(())
}

fn encode(object: &Object) -> Vec<u8> {
    let mut bytes = object.version.to_le_bytes().to_vec();
    // A `Value` has string keys only and a `Vec` takes every write.
    serde_json::to_writer(&mut bytes, &*object.value).expect("a JSON value always serialises");
    bytes
}

fn read_all(database: &Database) -> Result<Contents, LoadError> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let number = |name: &str| -> Result<u64, LoadError> {
        let missing = || LoadError::Damaged(format!("it has no {name} number"));
        Ok(meta.get(name)?.ok_or_else(missing)?.value())
    };
    let format = number("format")?;
    if format != FORMAT {
        let why = format!("its format is {format}, this program knows {FORMAT}");
        return Err(LoadError::Damaged(why));
    }
    let version = number("version")?;
    let mut objects = Vec::new();
    for row in transaction.open_table(OBJECTS)?.iter()? {
        let (key, value) = row?;
        let object = decode(key.value(), value.value());
        objects.push(object.ok_or_else(|| unreadable(key.value()))?);
    }
    Ok(Contents { objects, version })
}

fn decode(key: &[u8], bytes: &[u8]) -> Option<Object> {
    let key = Key::decode(key)?;
    let (version, json) = bytes.split_first_chunk::<8>()?;
    let value: Value = serde_json::from_slice(json).ok()?;
    Some(Object { key, value: Arc::new(value), version: u64::from_le_bytes(*version) })
}

fn unreadable(key: &[u8]) -> LoadError {
    let name = String::from_utf8_lossy(key).replace('\0', "/");
    LoadError::Damaged(format!("object {name:?} is unreadable"))
}

/// A full disk is told apart from a broken one: the first is for the user to mend.
fn refusal(error: redb::Error) -> WriteError {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let full = matches!(
        &error,
        redb::Error::Io(io) if matches!(io.kind(), StorageFull | QuotaExceeded | FileTooLarge)
    );
    let cause = Arc::new(error);
    if full { WriteError::Full(cause) } else { WriteError::Io(cause) }
}
