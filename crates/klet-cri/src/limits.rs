//! Bounds of everything that crosses the shim's socket or its log files.

/// Largest frame on the control socket, in bytes, header excluded. A pod's environment
/// may come close to `ARG_MAX` (2 MiB), JSON escaping included this leaves room.
pub const MAX_FRAME_BYTES: usize = 8 << 20;
/// Most descriptors that ride on one frame.
pub const MAX_FRAME_FDS: usize = 4;
/// Control connections one shim accepts at a time (old and new kletd during a restart, and tools).
pub const MAX_CONNECTIONS: usize = 8;
/// Exec sessions alive at a time in one pod.
pub const MAX_EXECS: usize = 128;
/// Containers (records included) one shim keeps.
pub const MAX_CONTAINERS: usize = 512;
/// Most output of one captured exec, in bytes of each stream; a request for more is refused. Probes and
/// hooks keep 10 KiB (kubelet `maxReadLength` of probes).
pub const MAX_CAPTURE_BYTES: usize = 64 << 10;
// A byte takes up to four in JSON, and stderr is sent twice.
const _: () = assert!(MAX_CAPTURE_BYTES * 8 + 4096 < MAX_FRAME_BYTES);
/// Longest log payload written as one CRI log line; longer lines are split with tag `P`.
pub const MAX_LOG_LINE_BYTES: usize = 16 << 10;
/// Default size at which a container's log file is rotated (kubelet `containerLogMaxSize`).
pub const LOG_MAX_BYTES: u64 = 10 << 20;
/// Default number of log files kept per container, the current one included (kubelet `containerLogMaxFiles`).
pub const LOG_MAX_FILES: u32 = 5;
/// How long an exited container's pipes are drained when something else still holds them open, milliseconds.
pub const DRAIN_DEADLINE_MS: u64 = 2_000;
/// How long a removal of the sandbox waits for killed processes before it says which do not end, milliseconds.
pub const REMOVAL_DEADLINE_MS: u64 = 10_000;
