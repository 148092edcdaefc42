//! Opening, creating and setting aside the store's file.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use redb::{Builder, Database};

use crate::disk::{self, Contents, Disk, LoadError, Opener};
use crate::error::OpenError;
use crate::lock::{Lock, LockError, beside};

/// Opens the store at `path`, creating it if there is no file.
pub(crate) fn open(path: &Path, cache: usize) -> Result<(Lock, Disk, Contents), OpenError> {
    let lock = Lock::take(path).map_err(|error| match error {
        LockError::Held(pid) => OpenError::InUse { path: path.to_owned(), pid },
        LockError::Io(source) => io_error(path, "take its lock", source),
    })?;
    if !path.try_exists().map_err(|error| io_error(path, "look for it", error))? {
        create(path, cache)?;
    }
    let file = path.to_owned();
    let opener: Opener = Box::new(move || {
        let mut builder = Builder::new();
        builder.set_cache_size(cache).set_check_integrity_on_open(true);
        Ok(builder.open(&file)?)
    });
    let (disk, contents) = Disk::load(opener).map_err(|error| load_error(path, error))?;
    Ok((lock, disk, contents))
}

/// Renames a damaged store to a free name beside it and returns that name.
pub(crate) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for number in 1..=u32::MAX {
        let aside = beside(path, &format!(".damaged-{number}"));
        if !aside.try_exists()? {
            fs::rename(path, &aside)?;
            sync_parent(path)?;
            return Ok(aside);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The file appears under its name only when it is whole: a cut inside redb's own
/// creation leaves a file that it cannot open.
fn create(path: &Path, cache: usize) -> Result<(), OpenError> {
    let new = beside(path, ".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error(path, "remove an unfinished one", error));
        }
        _ => {}
    }
    let written = write_new(&new, cache);
    written.map_err(|error| load_error(path, LoadError::Redb(error)))?;
    let step = |step| move |error| io_error(path, step, error);
    File::open(&new).and_then(|file| file.sync_all()).map_err(step("sync the new file"))?;
    fs::rename(&new, path).map_err(step("name the new file"))?;
    sync_parent(path).map_err(step("sync its directory"))
}

fn write_new(path: &Path, cache: usize) -> Result<(), redb::Error> {
    let database: Database = Builder::new().set_cache_size(cache).create(path)?;
    disk::format(&database)?;
    Ok(database.close()?)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn io_error(path: &Path, step: &'static str, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), step, source }
}

fn load_error(path: &Path, error: LoadError) -> OpenError {
    let damaged = |why: String| OpenError::Damaged { path: path.to_owned(), why };
    match error {
        LoadError::Damaged(why) => damaged(why),
        // redb's words for a file with a wrong header or a short read.
        LoadError::Redb(redb::Error::Io(source)) => match source.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                damaged(source.to_string())
            }
            _ => io_error(path, "read it", source),
        },
        LoadError::Redb(redb::Error::DatabaseAlreadyOpen) => {
            OpenError::InUse { path: path.to_owned(), pid: None }
        }
        LoadError::Redb(other) => damaged(other.to_string()),
    }
}
