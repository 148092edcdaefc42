//! The pod: everything the shim holds, and the loop that keeps it going.

mod removal;
mod requests;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use klet_cri::limits::MAX_CONNECTIONS;
use klet_cri::paths::PodRunDir;
use klet_cri::{Event, FromShim, Reply, SandboxConfig, ShimError, ShimErrorKind};
use klet_runtime::cgroup::{Cgroup, Cgroups, EnterFiles};
use klet_sys::features::Features;
use klet_sys::pidfd;
use nix::sys::signal::Signal;

use crate::clients::{Client, Heard};
use crate::container::Container;
use crate::output::READ;
use crate::poll::{Channel, Poll, Token};
use crate::record;
use crate::session::{End, Session};
use removal::Removal;

/// A shim that nobody gives a sandbox within this time ends: nothing leaks.
const UNUSED: Duration = Duration::from_secs(60);
/// Quiet after a container's start in which the memory it took to understand the request is given back.
const QUIET: Duration = Duration::from_secs(1);

/// After a connection could not be taken (no descriptor left), the next try.
const DEAF: Duration = Duration::from_millis(100);
/// How long a client may take to read the last words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The pause process.
#[derive(Debug)]
struct Pause {
    pid: i32,
    pidfd: OwnedFd,
    cgroup: Cgroup,
    alive: bool,
    /// The network namespace and a route socket in it, for a client that asks again.
    network: Vec<OwnedFd>,
}

fn error(kind: ShimErrorKind, message: impl Into<String>) -> ShimError {
    ShimError { kind, message: message.into() }
}

/// All state of the shim.
struct Pod {
    run: PodRunDir,
    cgroups: Cgroups,
    features: Features,
    poll: Poll,
    listener: UnixListener,
    /// No connection is taken until then.
    deaf_until: Option<Instant>,
    signals: OwnedFd,
    sandbox: Option<SandboxConfig>,
    /// The host's mount namespace, left behind when the shim made its own.
    host_mounts: Option<OwnedFd>,
    pause: Option<Pause>,
    containers: BTreeMap<u32, Container>,
    sessions: BTreeMap<u32, Session>,
    /// Groups of ended sessions that left programs in the background.
    lingering: Vec<Cgroup>,
    removal: Option<Removal>,
    clients: BTreeMap<u32, Client>,
    next_key: u32,
    next_exec: u64,
    born: Instant,
    buffer: Vec<u8>,
    records: Vec<u8>,
    /// When memory that requests took is given back.
    trim_at: Option<Instant>,
    over: bool,
}

/// Supervises the pod until its sandbox is removed.
///
/// # Errors
/// The shim cannot begin its work.
pub fn supervise(run: &Path, uid: &str, own_cgroup: &str) -> io::Result<()> {
    let cgroups = Cgroups::detect().map_err(io::Error::other)?;
    join_own_cgroup(&cgroups, own_cgroup)?;
    klet_sys::process::become_subreaper().map_err(io::Error::other)?;
    klet_sys::signal::block_all().map_err(io::Error::other)?;
    let signals = klet_sys::signal::descriptor(&[Signal::SIGCHLD]).map_err(io::Error::other)?;
    let run = PodRunDir::new(run, uid);
    std::fs::create_dir_all(run.containers())?;
    std::fs::create_dir_all(run.shm())?;
    record::write_identity(&run, "")?;
    let listener = listen(&run)?;
    let poll = Poll::new()?;
    poll.add(&listener, Token::Listener)?;
    poll.add(&signals, Token::Signals)?;
    let mut pod = Pod {
        run,
        cgroups,
        features: Features::probe(),
        poll,
        listener,
        deaf_until: None,
        signals,
        sandbox: None,
        host_mounts: None,
        pause: None,
        containers: BTreeMap::new(),
        sessions: BTreeMap::new(),
        lingering: Vec::new(),
        removal: None,
        clients: BTreeMap::new(),
        next_key: 0,
        next_exec: 1,
        born: Instant::now(),
        buffer: vec![0; READ],
        records: Vec::new(),
        trim_at: None,
        over: false,
    };
    pod.take_first_client()?;
    let served = pod.serve();
    // The end of the process closes everything, the log with its lock first: whoever sees the
    // connection end may start the next supervisor at once.
    std::mem::forget(pod);
    served
}

/// On v2 the shim was born in its cgroup; on v1 it moves itself, as only a single thread can cheaply.
fn join_own_cgroup(cgroups: &Cgroups, path: &str) -> io::Result<()> {
    if cgroups.is_v2() {
        return Ok(());
    }
    let cgroup = cgroups.container(path);
    cgroup.create().map_err(io::Error::other)?;
    if let EnterFiles::V1(tasks) = cgroup.enter_files().map_err(io::Error::other)? {
        for file in tasks {
            rustix::io::write(&file, b"0")?;
        }
    }
    Ok(())
}

/// The socket appears under its name when it already listens, never before.
fn listen(run: &PodRunDir) -> io::Result<UnixListener> {
    let temporary = run.path().join("shim.sock.tmp");
    let _ = std::fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary)?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&temporary, run.socket())?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Pod {
    fn serve(&mut self) -> io::Result<()> {
        while !self.over {
            let timeout = self.due().map(|due| due.saturating_duration_since(Instant::now()));
            for token in self.poll.wait(timeout)? {
                self.handle(token);
            }
            self.settle();
        }
        for client in self.clients.values_mut() {
            // The last words: the peer reads them, is gone, or does not read.
            if client.stream.set_write_timeout(Some(LAST_WORDS)).is_ok() {
                let _ = client.stream.set_nonblocking(false);
            }
            client.flush();
        }
        Ok(())
    }

    /// When something must be done even if nothing happens.
    fn due(&self) -> Option<Instant> {
        let unused = self.sandbox.is_none().then(|| self.born + UNUSED);
        let containers = self.containers.values().filter_map(Container::due);
        let sessions = self.sessions.values().filter_map(|session| session.due);
        let removal = self.removal.iter().filter_map(Removal::due);
        let others = unused.into_iter().chain(removal).chain(self.deaf_until).chain(self.trim_at);
        containers.chain(sessions).chain(others).min()
    }

    fn handle(&mut self, token: Token) {
        match token {
            Token::Listener => self.accept(),
            Token::Signals => self.reap_strangers(),
            Token::Pause => self.pause_ended(),
            Token::Client(key) => self.hear(key),
            Token::ContainerExit(key) => {
                if let Some(container) = self.containers.get_mut(&key) {
                    if let Some(live) = &container.live {
                        self.poll.remove(&live.pidfd);
                    }
                    container.process_ended();
                }
            }
            Token::ContainerOutput(key, channel) => self.pump(key, channel),
            Token::ContainerOom(key) => {
                if let Some(container) = self.containers.get_mut(&key) {
                    container.out_of_memory(Instant::now());
                }
            }
            Token::SessionExit(key) => {
                if let Some(session) = self.sessions.get_mut(&key) {
                    self.poll.remove(&session.pidfd);
                    session.process_ended();
                }
            }
            Token::SessionOutput(key, channel) => {
                if let Some(session) = self.sessions.get_mut(&key)
                    && let Some(ended) = session.collect(channel, &mut self.buffer)
                {
                    self.poll.remove(&ended);
                }
            }
        }
    }

    fn pump(&mut self, key: u32, channel: Channel) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        let before = container.dropped();
        if let Some(ended) = container.pump(channel, &mut self.buffer, &mut self.records) {
            self.poll.remove(&ended.fd);
        }
        let (after, id) = (container.dropped(), container.snapshot.id.clone());
        if before == 0 && after > 0 {
            self.announce(&Event::LogDropped { id, bytes: after });
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.add_client(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    // It would be told again at once, without end.
                    self.poll.remove(&self.listener);
                    self.deaf_until = Some(Instant::now() + DEAF);
                    return;
                }
            }
        }
    }

    fn add_client(&mut self, stream: UnixStream) {
        if self.clients.len() >= MAX_CONNECTIONS {
            return;
        }
        let Ok(client) = Client::accept(stream) else { return };
        let key = self.new_key();
        if self.poll.add(&client.stream, Token::Client(key)).is_ok() {
            self.clients.insert(key, client);
        }
    }

    /// Whoever started the shim may have given it a connection as its standard input.
    fn take_first_client(&mut self) -> io::Result<()> {
        let stdin = io::stdin();
        let kind = rustix::fs::fstat(&stdin)?.st_mode;
        if rustix::fs::FileType::from_raw_mode(kind) != rustix::fs::FileType::Socket {
            return Ok(());
        }
        let stream = UnixStream::from(stdin.as_fd().try_clone_to_owned()?);
        // With a second descriptor left open the peer would not see the connection end.
        let null = std::fs::File::open("/dev/null")?;
        klet_sys::fd::duplicate_onto(null.as_fd(), 0).map_err(io::Error::other)?;
        self.add_client(stream);
        Ok(())
    }

    fn new_key(&mut self) -> u32 {
        self.next_key = self.next_key.wrapping_add(1);
        self.next_key
    }

    fn hear(&mut self, key: u32) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        if !client.flush() {
            return self.drop_client(key);
        }
        match client.read() {
            Heard::Requests(requests) => {
                for message in requests {
                    self.answer(key, message);
                }
                self.update_interest(key);
            }
            Heard::Over => self.drop_client(key),
        }
    }

    fn drop_client(&mut self, key: u32) {
        if let Some(client) = self.clients.remove(&key) {
            self.poll.remove(&client.stream);
        }
        if self.sandbox.is_none() && self.clients.is_empty() {
            self.leave();
        }
    }

    fn update_interest(&self, key: u32) {
        if let Some(client) = self.clients.get(&key) {
            // A descriptor that cannot be changed is dropped at its next failure.
            let waiting = client.is_waiting();
            let _ = self.poll.write_interest(&client.stream, Token::Client(key), waiting);
        }
    }

    fn reply(&mut self, key: u32, id: u64, result: Result<Reply, ShimError>, fds: Vec<OwnedFd>) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        if client.send(&FromShim::Reply { id, result }, fds) {
            self.update_interest(key);
        } else {
            self.drop_client(key);
        }
    }

    fn announce(&mut self, event: &Event) {
        let keys: Vec<u32> = self.clients.keys().copied().collect();
        for key in keys {
            let sent = self.clients.get_mut(&key).is_none_or(|client| {
                !client.greeted || client.send(&FromShim::Event(event.clone()), Vec::new())
            });
            if sent {
                self.update_interest(key);
            } else {
                self.drop_client(key);
            }
        }
    }

    /// Carries out what is due and finishes what has ended.
    fn settle(&mut self) {
        let now = Instant::now();
        if self.sandbox.is_none() && now >= self.born + UNUSED {
            self.leave();
        }
        for key in self.containers.keys().copied().collect::<Vec<_>>() {
            self.settle_container(key, now);
        }
        for key in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.settle_session(key, now);
        }
        self.settle_removal(now);
        if self.deaf_until.is_some_and(|until| now >= until) {
            let heard = self.poll.add(&self.listener, Token::Listener).is_ok();
            self.deaf_until = (!heard).then(|| now + DEAF);
        }
        if self.trim_at.is_some_and(|at| now >= at) {
            self.trim_at = None;
            klet_sys::memory::trim_heap();
            klet_sys::memory::trim_stack();
        }
    }

    fn settle_container(&mut self, key: u32, now: Instant) {
        let Some(container) = self.containers.get_mut(&key) else { return };
        if container.finds_oom_kill(now) {
            let id = container.snapshot.id.clone();
            self.announce(&Event::OomKilled { id });
        }
        let Some(container) = self.containers.get_mut(&key) else { return };
        let overdue = container.live.as_ref().and_then(|live| live.kill_at);
        if overdue.is_some_and(|kill_at| now >= kill_at) {
            container.kill();
        }
        let Some(ended) = container.finish(now, &mut self.buffer, &mut self.records) else {
            return;
        };
        // First the record, then the announcement: a daemon that is away finds it on disk.
        if let Err(error) = record::write_container(&self.run, &ended) {
            eprintln!("klet-shim: record of {}: {error}", ended.name);
            // A removal has no use for records.
            if self.removal.is_none() {
                return container.put_off(now);
            }
        }
        container.snapshot = ended;
        for (_, source) in container.sources() {
            self.poll.remove(&source.fd);
        }
        container.bury();
        let id = container.snapshot.id.clone();
        self.announce(&Event::ContainerExited { id });
    }

    fn settle_session(&mut self, key: u32, now: Instant) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if !session.has_ended() && session.due.is_some_and(|due| now >= due) {
            session.overdue(now);
        }
        let end = session.end(&mut self.buffer);
        let exec_id = session.number;
        if session.has_ended()
            && let Some(session) = self.sessions.remove(&key)
        {
            for (_, fd) in session.sources() {
                self.poll.remove(fd);
            }
            self.lingering.extend(session.bury());
            self.lingering.retain(|cgroup| !crate::session::remove_if_empty(cgroup));
        }
        match end {
            None => {}
            Some(End::Code(code)) => self.announce(&Event::ExecExited { exec_id, code }),
            Some(End::Outcome { waiting: (client, id), outcome }) => {
                self.reply(client, id, Ok(Reply::ExecDone(outcome)), Vec::new());
            }
        }
    }

    fn pause_ended(&mut self) {
        let Some(pause) = &mut self.pause else { return };
        self.poll.remove(&pause.pidfd);
        let _ = pidfd::try_wait(pause.pidfd.as_fd(), false);
        pause.alive = false;
        self.announce(&Event::SandboxDied);
    }

    /// Processes whose parents ended become the shim's children: nobody else reaps them.
    fn reap_strangers(&self) {
        let mut signal = [0; 128];
        while rustix::io::read(&self.signals, &mut signal).is_ok_and(|count| count > 0) {}
        let path = format!("/proc/self/task/{}/children", std::process::id());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        for pid in text.split_whitespace().filter_map(|word| word.parse::<i32>().ok()) {
            if !self.is_own(pid) {
                let pid = nix::unistd::Pid::from_raw(pid);
                let _ = nix::sys::wait::waitpid(pid, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
            }
        }
    }

    fn is_own(&self, pid: i32) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.alive && pause.pid == pid)
            || self.containers.values().any(|container| container.snapshot.pid == Some(pid))
            || self.sessions.values().any(|session| session.pid == pid)
    }

    /// Ends the shim: nothing of the pod may be left.
    fn leave(&mut self) {
        for path in [self.run.socket(), self.run.identity()] {
            let _ = std::fs::remove_file(path);
        }
        // A mount point cannot be removed where it is one.
        let _ = rustix::mount::unmount(self.run.shm(), rustix::mount::UnmountFlags::DETACH);
        for path in [self.run.shm(), self.run.containers()] {
            let _ = std::fs::remove_dir(path);
        }
        self.over = true;
    }
}
