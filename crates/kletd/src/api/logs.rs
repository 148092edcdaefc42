//! `logs`: reading CRI log files, following them as they grow.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use klet_api::Pod;
use klet_api::k8s_openapi::api::core::v1::ContainerStatus;
use klet_apiserver::{ByteStream, LogOptions, LogStream, NodeError};
use klet_cri::log::{LogLine, Stream, parse_line};
use rustix::fs::inotify::WatchFlags;
use tokio::sync::{mpsc, watch};

use super::Backend;
use crate::pod::Identity;
use crate::shim::Shim;
use crate::wait::Watcher;

/// Longest line of a log file that is taken as one; the writer makes none longer.
const LINE: u64 = 64 << 10;
/// Bytes gathered before they are sent.
const CHUNK: usize = 32 << 10;

/// Opens the log of one container of a pod.
///
/// # Errors
/// The kubelet's texts for a container that has no log.
pub fn open(
    backend: &Backend,
    pod: &Pod,
    container: &str,
    options: LogOptions,
) -> Result<ByteStream, NodeError> {
    let identity = Identity::of(pod, &backend.node);
    let status = status_of(pod, container).ok_or_else(|| {
        let name = &identity.name;
        NodeError::bad_request(format!("container {container:?} in pod {name:?} is not available"))
    })?;
    let number = instance(status, container, &identity.name, options.previous)?;
    let path = identity.logs.join(container).join(format!("{number}.log"));
    let (sender, receiver) = mpsc::channel(8);
    let follow = Follow {
        backend: backend.clone(),
        uid: identity.uid.clone(),
        container: container.to_owned(),
        number,
        wanted: options.follow && !options.previous,
    };
    tokio::spawn(async move {
        if let Err(error) = stream(path, options, follow, &sender).await {
            tracing::debug!(%error, "log stream ended");
        }
    });
    Ok(receiver)
}

fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists = [&status.container_statuses, &status.init_container_statuses];
    lists.into_iter().flatten().flatten().find(|status| status.name == container)
}

/// Which instance's file to read: its restart count.
fn instance(
    status: &ContainerStatus,
    container: &str,
    pod: &str,
    previous: bool,
) -> Result<i32, NodeError> {
    let refuse = |text: String| Err(NodeError::bad_request(text));
    let state = status.state.clone().unwrap_or_default();
    let has_last = status.last_state.as_ref().is_some_and(|last| last.terminated.is_some());
    if previous {
        return if has_last && status.restart_count > 0 && state.waiting.is_none() {
            Ok(status.restart_count - 1)
        } else if has_last {
            Ok(status.restart_count)
        } else {
            refuse(format!("previous terminated container {container:?} in pod {pod:?} not found"))
        };
    }
    if state.running.is_some() || state.terminated.is_some() || has_last {
        return Ok(status.restart_count);
    }
    let reason = state.waiting.and_then(|waiting| waiting.reason).unwrap_or_default();
    let what = match reason.as_str() {
        "ErrImagePull" => "image can't be pulled",
        "ImagePullBackOff" => "trying and failing to pull image",
        other => other,
    };
    refuse(format!("container {container:?} in pod {pod:?} is waiting to start: {what}"))
}

/// When to stop following.
struct Follow {
    backend: Backend,
    uid: String,
    container: String,
    number: i32,
    wanted: bool,
}

/// What one look at the attempt has shown.
struct Look {
    /// It has ended.
    over: bool,
    /// What to wait for before the next look; the shim keeps the connection.
    next: Option<(Shim, watch::Receiver<u64>)>,
}

impl Follow {
    async fn look(&self) -> Look {
        let gone = Look { over: true, next: None };
        let Some(shim) = self.backend.shim(&self.uid).await else { return gone };
        // Before the look: what happens after it must not be missed.
        let changes = shim.changes();
        let Ok(snapshot) = shim.status().await else { return gone };
        let runs = snapshot.containers.iter().any(|container| {
            container.name == self.container
                && i64::from(container.attempt) == i64::from(self.number)
                && !matches!(container.state, klet_cri::ContainerState::Exited(_))
        });
        Look { over: !runs, next: Some((shim, changes)) }
    }
}

/// Returns when it is worth looking again.
async fn changed(next: Option<(Shim, watch::Receiver<u64>)>) {
    match next {
        // An error means that the connection ended, which is a change, too.
        Some((_shim, mut changes)) => drop(changes.changed().await),
        None => std::future::pending().await,
    }
}

async fn stream(
    path: PathBuf,
    options: LogOptions,
    follow: Follow,
    sender: &mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let watcher = follow
        .wanted
        .then(|| {
            let directory = path.parent().unwrap_or(Path::new("/"));
            Watcher::new(directory, WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO)
        })
        .transpose()?;
    let mut reader = Reader::open(&path, &options)?;
    loop {
        let look = match follow.wanted {
            true => follow.look().await,
            false => Look { over: true, next: None },
        };
        loop {
            let chunk;
            (reader, chunk) = tokio::task::spawn_blocking(move || {
                let chunk = reader.chunk();
                (reader, chunk)
            })
            .await
            .map_err(io::Error::other)?;
            let chunk = chunk?;
            if chunk.is_empty() {
                break;
            }
            if sender.send(chunk.into()).await.is_err() {
                return Ok(());
            }
        }
        if look.over || reader.is_full() {
            return Ok(());
        }
        reader.reopen_if_rotated()?;
        let Some(watcher) = &watcher else { return Ok(()) };
        tokio::select! {
            changed = watcher.changed() => changed?,
            () = changed(look.next) => {}
            () = sender.closed() => return Ok(()),
        }
    }
}

/// Turns a log file into what the client asked for.
struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    options: LogOptions,
    since: Option<Timestamp>,
    /// Bytes still allowed.
    left: u64,
    /// The line before this one was only a part.
    in_partial: bool,
    /// A line that was not complete when it was read.
    rest: Vec<u8>,
}

fn open_file(path: &Path) -> io::Result<File> {
    // A symlink in the log directory could lead anywhere.
    File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// `seconds` before `time`; the beginning of time is far enough.
fn before(time: Timestamp, seconds: i64) -> Timestamp {
    let seconds = SignedDuration::from_secs(seconds);
    time.saturating_sub(seconds).unwrap_or(Timestamp::MIN)
}

impl Reader {
    fn open(path: &Path, options: &LogOptions) -> io::Result<Self> {
        let mut file = open_file(path)?;
        if let Some(lines) = options.tail_lines {
            let start = tail_offset(&mut file, lines)?;
            file.seek(SeekFrom::Start(start))?;
        }
        let since = options
            .since_time
            .or_else(|| options.since_seconds.map(|seconds| before(Timestamp::now(), seconds)));
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            options: options.clone(),
            since,
            left: options.limit_bytes.unwrap_or(u64::MAX),
            in_partial: false,
            rest: Vec::new(),
        })
    }

    fn is_full(&self) -> bool {
        self.left == 0
    }

    /// The next bytes for the client; empty at the present end.
    fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        while out.len() < CHUNK && self.left > 0 {
            let mut line = std::mem::take(&mut self.rest);
            self.file.by_ref().take(LINE).read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                self.rest = line;
                break;
            }
            line.pop();
            if let Some(parsed) = parse_line(&line) {
                self.append(&parsed, &mut out);
            }
        }
        Ok(out)
    }

    fn append(&mut self, line: &LogLine<'_>, out: &mut Vec<u8>) {
        let unwanted = match self.options.stream {
            LogStream::All => false,
            LogStream::Stdout => line.stream != Stream::Stdout,
            LogStream::Stderr => line.stream != Stream::Stderr,
        };
        if unwanted || self.too_old(line) {
            return;
        }
        let mut text = Vec::new();
        if self.options.timestamps && !self.in_partial {
            let time = time_of(line);
            text.extend_from_slice(format!("{time:.9} ").as_bytes());
        }
        text.extend_from_slice(line.payload);
        if !line.partial {
            text.push(b'\n');
        }
        self.in_partial = line.partial;
        let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(text.len());
        out.extend_from_slice(&text[..take]);
        self.left -= take as u64;
    }

    fn too_old(&self, line: &LogLine<'_>) -> bool {
        let Some(since) = self.since else { return false };
        time_of(line) < since
    }

    /// After a rotation the path names a new file: read on there.
    fn reopen_if_rotated(&mut self) -> io::Result<()> {
        let Ok(new) = open_file(&self.path) else { return Ok(()) };
        let (old, now) = (self.file.get_ref().metadata()?, new.metadata()?);
        if std::os::unix::fs::MetadataExt::ino(&old) != std::os::unix::fs::MetadataExt::ino(&now) {
            self.file = BufReader::new(new);
            self.rest.clear();
        }
        Ok(())
    }
}

fn time_of(line: &LogLine<'_>) -> Timestamp {
    Timestamp::from_nanosecond(line.time.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Where the last `lines` lines begin.
fn tail_offset(file: &mut File, lines: u64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if lines == 0 {
        return Ok(length);
    }
    let mut position = length;
    let mut seen = 0;
    let mut block = vec![0; 16 << 10];
    while position > 0 {
        let size = block.len().min(usize::try_from(position).unwrap_or(usize::MAX));
        position -= size as u64;
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut block[..size])?;
        for (at, byte) in block[..size].iter().enumerate().rev() {
            let end = position + at as u64 + 1;
            if *byte == b'\n' && end < length {
                seen += 1;
                if seen == lines {
                    return Ok(end);
                }
            }
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-02T03:04:05.000000001Z stdout F one\n\
        2026-01-02T03:04:06.000000001Z stderr P tw\n\
        2026-01-02T03:04:06.000000002Z stderr F o\n\
        2026-01-02T03:04:07.000000001Z stdout F three\n";

    #[test]
    fn more_seconds_than_there_is_time_is_everything() {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(before(now, 5).to_string(), "2026-01-02T03:04:00Z");
        assert_eq!(before(now, i64::MAX), Timestamp::MIN);
    }

    fn read(options: &LogOptions) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        String::from_utf8(Reader::open(&path, options).unwrap().chunk().unwrap()).unwrap()
    }

    #[test]
    fn lines_are_joined_and_ended() {
        assert_eq!(read(&LogOptions::default()), "one\ntwo\nthree\n");
    }

    #[test]
    fn options_select() {
        let options = |change: fn(&mut LogOptions)| {
            let mut options = LogOptions::default();
            change(&mut options);
            read(&options)
        };
        assert_eq!(options(|o| o.tail_lines = Some(1)), "three\n");
        assert_eq!(options(|o| o.tail_lines = Some(0)), "");
        assert_eq!(options(|o| o.tail_lines = Some(99)), "one\ntwo\nthree\n");
        assert_eq!(options(|o| o.limit_bytes = Some(5)), "one\nt");
        assert_eq!(options(|o| o.stream = LogStream::Stderr), "two\n");
        assert_eq!(options(|o| o.since_time = "2026-01-02T03:04:07Z".parse().ok()), "three\n");
        let stamped = options(|o| o.timestamps = true);
        assert!(stamped.starts_with("2026-01-02T03:04:05.000000001Z one\n"), "{stamped}");
    }
}
