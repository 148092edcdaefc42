//! A connection to one shim: requests and replies by id, events as "something changed".

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use klet_cri::limits::REMOVAL_DEADLINE_MS;
use klet_cri::paths::PodRunDir;
use klet_cri::{
    Event, ExecConfig, FromShim, PROTOCOL, PodSnapshot, Reply, Request, ShimError, ShimErrorKind,
    ToShim, frame,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};

/// How long a shim may take to answer what it answers at once when it is healthy.
pub const ANSWER: Duration = Duration::from_secs(10);
/// How long it may take to make a sandbox or a container (kubelet `runtimeRequestTimeout`).
pub const WORK: Duration = Duration::from_secs(120);
/// How long it may take to say that all is gone, or what is not.
const REMOVAL: Duration = Duration::from_millis(REMOVAL_DEADLINE_MS + 10_000);
/// How often it is asked whether it lives while an answer may take for ever.
const ALIVE: Duration = Duration::from_secs(30);
/// Bytes read from the socket at a time.
const READ: usize = 64 << 10;

/// Why a request brought no answer to work with.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The shim answered that it could not.
    #[error(transparent)]
    Refused(#[from] ShimError),
    /// The connection is gone: so is the shim, or it is being replaced.
    #[error("the pod's supervisor does not answer: {0}")]
    Gone(String),
}

impl CallError {
    /// The shim does not know the container, exec session or sandbox.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(error) if error.kind == ShimErrorKind::NotFound)
    }

    fn gone(why: impl ToString) -> Self {
        Self::Gone(why.to_string())
    }
}

type Answer = (Result<Reply, ShimError>, Vec<OwnedFd>);

/// A connected shim. Cheap to clone; the connection ends with the last clone.
#[derive(Debug, Clone)]
pub struct Shim {
    inner: Arc<Inner>,
    _reader: Arc<AbortOnDrop>,
}

#[derive(Debug)]
struct Inner {
    socket: AsyncFd<UnixStream>,
    sending: tokio::sync::Mutex<()>,
    next_id: AtomicU64,
    state: Mutex<State>,
    /// Bumped by every event and when the connection ends.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    pending: HashMap<u64, oneshot::Sender<Answer>>,
    /// Ends of exec sessions: waited for, or already told.
    execs: HashMap<u64, ExecEnd>,
    closed: Option<String>,
}

#[derive(Debug)]
enum ExecEnd {
    Waited(oneshot::Sender<Result<i32, String>>),
    Told(i32),
}

#[derive(Debug)]
struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shim {
    /// Connects to the shim of a pod and agrees on a protocol version.
    ///
    /// # Errors
    /// No shim listens there, or it speaks no common version.
    pub async fn connect(directory: &PodRunDir) -> Result<Self, CallError> {
        Self::connect_within(ANSWER, directory).await
    }

    /// As [`Self::connect`], for a shim that may take `limit` to answer.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_within(limit: Duration, directory: &PodRunDir) -> Result<Self, CallError> {
        let stream = UnixStream::connect(directory.socket()).map_err(CallError::gone)?;
        Self::greet(limit, stream).await
    }

    /// Agrees on a protocol version with the shim at the other end, which may take `limit` to answer.
    ///
    /// # Errors
    /// It ends or does not answer, or speaks no common version.
    pub async fn greet(limit: Duration, stream: UnixStream) -> Result<Self, CallError> {
        stream.set_nonblocking(true).map_err(CallError::gone)?;
        let inner = Arc::new(Inner {
            socket: crate::wait::asynchronous(stream, Interest::READABLE | Interest::WRITABLE)
                .map_err(CallError::gone)?,
            sending: tokio::sync::Mutex::new(()),
            next_id: AtomicU64::new(1),
            state: Mutex::default(),
            changed: watch::Sender::new(0),
        });
        let reader = tokio::spawn(read(Arc::clone(&inner)));
        let shim = Self { inner, _reader: Arc::new(AbortOnDrop(reader.abort_handle())) };
        let client = format!("kletd/{}", env!("CARGO_PKG_VERSION"));
        shim.call_within(limit, Request::Hello { versions: PROTOCOL, client }).await?;
        Ok(shim)
    }

    /// Asks for something that is answered at once.
    ///
    /// # Errors
    /// What the shim answers; [`CallError::Gone`] when there is no answer in time.
    pub async fn call(&self, request: Request) -> Result<Reply, CallError> {
        Ok(self.call_within(ANSWER, request).await?.0)
    }

    /// Asks for a command in a container; it is answered when the command has begun.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn exec(&self, config: ExecConfig) -> Result<(Reply, Vec<OwnedFd>), CallError> {
        self.call_within(ANSWER, Request::Exec(Box::new(config))).await
    }

    /// Asks for something that takes at most `limit`; descriptors come with the reply. A shim that
    /// does not answer hangs: the connection is given up, and the pod's worker looks again.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_within(
        &self,
        limit: Duration,
        request: Request,
    ) -> Result<(Reply, Vec<OwnedFd>), CallError> {
        let answer = tokio::time::timeout(limit, self.request(request)).await;
        answer.unwrap_or_else(|_| {
            let why = format!("no answer in {}s", limit.as_secs());
            self.inner.close(why.clone());
            Err(CallError::gone(why))
        })
    }

    /// Asks for something that may take as long as it takes, as long as the shim lives.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn call_patiently(&self, request: Request) -> Result<Reply, CallError> {
        let alive = async {
            loop {
                tokio::time::sleep(ALIVE).await;
                if let Err(error) = self.status().await {
                    return error;
                }
            }
        };
        tokio::select! {
            answer = self.request(request) => Ok(answer?.0),
            error = alive => Err(error),
        }
    }

    /// Asks it to end everything in the pod and then itself, and waits for that.
    ///
    /// # Errors
    /// Which processes do not end; [`CallError::Gone`] when the shim is dead or hangs.
    pub async fn remove_sandbox(&self) -> Result<(), CallError> {
        let mut changes = self.changes();
        self.call_within(REMOVAL, Request::RemoveSandbox).await?;
        let ended = changes.wait_for(|_| self.is_closed());
        // It has nothing left to do but to end.
        let _ = tokio::time::timeout(ANSWER, ended).await;
        Ok(())
    }

    async fn request(&self, request: Request) -> Result<(Reply, Vec<OwnedFd>), CallError> {
        let id = self.inner.next_id.fetch_add(1, Ordering::Relaxed);
        let bytes = frame::encode(&ToShim { id, request }).map_err(CallError::gone)?;
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.inner.state();
            if let Some(why) = &state.closed {
                return Err(CallError::gone(why));
            }
            state.pending.insert(id, sender);
        }
        let forget = Forget { inner: &self.inner, id };
        self.inner.send(&bytes).await.map_err(CallError::gone)?;
        let (result, fds) = receiver.await.map_err(|_| CallError::gone("connection closed"))?;
        drop(forget);
        Ok((result?, fds))
    }

    /// Everything the shim knows.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn status(&self) -> Result<PodSnapshot, CallError> {
        match self.call(Request::Status).await? {
            Reply::Status(snapshot) => Ok(*snapshot),
            other => Err(CallError::gone(format!("unexpected answer {other:?}"))),
        }
    }

    /// Changes whenever it is worth looking again.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// The connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.state().closed.is_some()
    }

    /// The exit code of a streamed exec session, when it ends.
    #[must_use]
    pub fn exec_end(&self, exec_id: u64) -> oneshot::Receiver<Result<i32, String>> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.inner.state();
        if let Some(why) = &state.closed {
            let _ = sender.send(Err(why.clone()));
        } else if let Some(ExecEnd::Told(code)) = state.execs.remove(&exec_id) {
            let _ = sender.send(Ok(code));
        } else {
            state.execs.insert(exec_id, ExecEnd::Waited(sender));
        }
        receiver
    }
}

/// Takes back the claim on a reply that nobody waits for any more.
struct Forget<'a> {
    inner: &'a Inner,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.inner.state().pending.remove(&self.id);
    }
}

impl Inner {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        let _turn = self.sending.lock().await;
        while !bytes.is_empty() {
            let mut ready = self.socket.writable().await?;
            if let Ok(written) =
                ready.try_io(|socket| io::Write::write(&mut socket.get_ref(), bytes))
            {
                bytes = &bytes[written?..];
            }
        }
        Ok(())
    }

    fn deliver(&self, message: FromShim, fds: &mut VecDeque<OwnedFd>) {
        match message {
            FromShim::Reply { id, result } => {
                let fds = match &result {
                    Ok(Reply::Sandbox { .. } | Reply::ExecStarted { .. }) => {
                        fds.drain(..).collect()
                    }
                    _ => Vec::new(),
                };
                if let Some(waiting) = self.state().pending.remove(&id) {
                    let _ = waiting.send((result, fds));
                }
            }
            FromShim::Event(event) => {
                if let Event::ExecExited { exec_id, code } = event {
                    self.exec_exited(exec_id, code);
                }
                self.changed.send_modify(|count| *count += 1);
            }
        }
    }

    fn exec_exited(&self, exec_id: u64, code: i32) {
        let mut state = self.state();
        match state.execs.remove(&exec_id) {
            Some(ExecEnd::Waited(sender)) => {
                let _ = sender.send(Ok(code));
            }
            Some(ExecEnd::Told(_)) | None => {
                state.execs.insert(exec_id, ExecEnd::Told(code));
            }
        }
    }

    fn close(&self, why: String) {
        let mut state = self.state();
        state.pending.clear();
        for (_, end) in state.execs.drain() {
            if let ExecEnd::Waited(sender) = end {
                let _ = sender.send(Err(why.clone()));
            }
        }
        state.closed = Some(why);
        drop(state);
        self.changed.send_modify(|count| *count += 1);
    }
}

async fn read(inner: Arc<Inner>) {
    let mut buffer = Vec::new();
    let mut chunk = vec![0; READ];
    let mut fds = VecDeque::new();
    let why = loop {
        let mut ready = match inner.socket.readable().await {
            Ok(ready) => ready,
            Err(error) => break error.to_string(),
        };
        let received = ready.try_io(|socket| {
            klet_sys::socket::receive(socket.get_ref(), &mut chunk).map_err(io_error)
        });
        match received {
            Err(_would_block) => continue,
            Ok(Err(error)) => break error.to_string(),
            Ok(Ok(received)) if received.length == 0 => break "connection closed".to_owned(),
            Ok(Ok(received)) => {
                buffer.extend_from_slice(&chunk[..received.length]);
                fds.extend(received.descriptors);
            }
        }
        match drain(&inner, &mut buffer, &mut fds) {
            Ok(()) => {}
            Err(error) => break error.to_string(),
        }
    };
    inner.close(why);
}

/// Keeps the error number: `try_io` must see `EAGAIN` as "would block".
fn io_error(error: klet_sys::SysError) -> io::Error {
    io::Error::from_raw_os_error(error.errno.0)
}

fn drain(
    inner: &Inner,
    buffer: &mut Vec<u8>,
    fds: &mut VecDeque<OwnedFd>,
) -> Result<(), frame::FrameError> {
    while let Some(message) = frame::take::<FromShim>(buffer)? {
        inner.deliver(message, fds);
    }
    Ok(())
}
