//! Every text with values in it that the kubelet produces about pods and containers, to the letter.

use std::time::Duration;

use klet_api::Pod;

/// Waiting reason of a container inside its crash back-off.
pub const CRASH_LOOP: &str = "CrashLoopBackOff";
/// Waiting reason of a container whose pull just failed.
pub const ERR_IMAGE_PULL: &str = "ErrImagePull";
/// Waiting reason of a container inside the back-off of its image.
pub const IMAGE_PULL_BACK_OFF: &str = "ImagePullBackOff";
/// Waiting reason of a container whose image is absent and must not be pulled.
pub const ERR_IMAGE_NEVER_PULL: &str = "ErrImageNeverPull";
/// Waiting reason: the program could not be executed.
pub const RUN_CONTAINER_ERROR: &str = "RunContainerError";
/// Waiting reason: the postStart hook failed and the container was killed for it.
pub const POST_START_HOOK_ERROR: &str = "PostStartHookError";
/// Terminated reason the kubelet gives when it does not know how a container ended.
pub const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";
/// Message beside [`STATUS_UNKNOWN`] when a container that ran has left no record.
pub const LOST: &str = "The container could not be located when the pod was deleted.  \
                        The container used to be Running";
/// Message beside [`STATUS_UNKNOWN`] when the end of a container was never seen.
pub const LOST_AT_END: &str = "The container could not be located when the pod was terminated";
/// Pod reason after `activeDeadlineSeconds`.
pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";
/// Pod and event message after `activeDeadlineSeconds`.
pub const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";
/// Event `SandboxChanged`.
pub const SANDBOX_CHANGED: &str = "Pod sandbox changed, it will be killed and re-created.";
/// Event message of `Killing` after a failed postStart hook.
pub const FAILED_POST_START: &str = "FailedPostStartHook";

/// The kubelet's description of a pod: `NAME_NAMESPACE(UID)`.
#[must_use]
pub fn pod(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!(
        "{}_{}({})",
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or("default"),
        meta.uid.as_deref().unwrap_or_default()
    )
}

/// `Killing`: the pod ends.
#[must_use]
pub fn stopping(name: &str) -> String {
    format!("Stopping container {name}")
}

/// `Created`.
#[must_use]
pub fn created(name: &str) -> String {
    format!("Created container: {name}")
}

/// `Started`.
#[must_use]
pub fn started(name: &str) -> String {
    format!("Started container {name}")
}

/// Waiting message of [`CRASH_LOOP`].
#[must_use]
pub fn crash_back_off(delay: Duration, name: &str, of: &Pod) -> String {
    format!("back-off {} restarting failed container={name} pod={}", go_duration(delay), pod(of))
}

/// Event `BackOff` of a crash-looping container.
#[must_use]
pub fn crash_back_off_event(name: &str, of: &Pod) -> String {
    format!("Back-off restarting failed container {name} in pod {}", pod(of))
}

/// Event `Pulling`.
#[must_use]
pub fn pulling(image: &str) -> String {
    format!("Pulling image {}", quoted(image))
}

/// Event `Pulled` when nothing had to be transferred.
#[must_use]
pub fn image_present(image: &str) -> String {
    format!("Container image {} already present on machine", quoted(image))
}

/// Event `Pulled`; `waited` is the time including the wait for other pulls, `bytes` the size.
#[must_use]
pub fn image_pulled(image: &str, took: Duration, waited: Duration, bytes: u64) -> String {
    format!(
        "Successfully pulled image {} in {} ({} including waiting). Image size: {bytes} bytes.",
        quoted(image),
        go_duration(whole_milliseconds(took)),
        go_duration(whole_milliseconds(waited)),
    )
}

/// Event `Failed` of a pull.
#[must_use]
pub fn pull_failed(image: &str, error: &str) -> String {
    format!("Failed to pull image {}: {error}", quoted(image))
}

/// Event `BackOff` of a pull.
#[must_use]
pub fn pull_back_off_event(image: &str) -> String {
    format!("Back-off pulling image {}", quoted(image))
}

/// Waiting message of [`IMAGE_PULL_BACK_OFF`]; `last_error` is the text of the last pull's failure.
#[must_use]
pub fn pull_back_off(image: &str, last_error: &str) -> String {
    format!("Back-off pulling image {}: {ERR_IMAGE_PULL}: {last_error}", quoted(image))
}

/// Message of [`ERR_IMAGE_NEVER_PULL`].
#[must_use]
pub fn image_never_pull(image: &str) -> String {
    format!("Container image {} is not present with pull policy of Never", quoted(image))
}

/// Message of `InvalidImageName`; `error` is what the parser says.
#[must_use]
pub fn invalid_image_name(image: &str, error: &str) -> String {
    format!("Failed to apply default image tag {}: {error}", quoted(image))
}

/// Event `Failed` of any step of a container start.
#[must_use]
pub fn start_error(error: &str) -> String {
    format!("Error: {error}")
}

/// `FailedScheduling`: the one node is not for this pod; `helped` when there being fewer others
/// could change that.
#[must_use]
pub fn unschedulable(reasons: &[String], helped: bool) -> String {
    let reasons: Vec<_> = reasons.iter().map(|reason| format!("1 {reason}")).collect();
    let preemption = if helped {
        "No preemption victims found for incoming pod"
    } else {
        "Preemption is not helpful for scheduling"
    };
    format!(
        "0/1 nodes are available: {}. preemption: 0/1 nodes are available: 1 {preemption}.",
        reasons.join(", ")
    )
}

/// `status.message` of a pod that the node has refused.
#[must_use]
pub fn rejected(message: &str) -> String {
    format!("Pod was rejected: {message}")
}

/// A failed exec hook: exit code, what it wrote to stderr, and both streams together.
#[must_use]
pub fn exec_hook_failed(
    of: &Pod,
    name: &str,
    command: &[String],
    code: i32,
    stderr: &str,
    output: &str,
) -> String {
    let line = command.join(" ");
    format!(
        "Exec lifecycle hook ([{line}]) for Container \"{name}\" in Pod \"{}\" failed - error: \
         command '{line}' exited with {code}: {stderr}, message: {}",
        pod(of),
        quoted(output)
    )
}

/// A failed HTTP hook.
#[must_use]
pub fn http_hook_failed(of: &Pod, name: &str, path: &str, error: &str) -> String {
    format!(
        "HTTP lifecycle hook ({path}) for Container \"{name}\" in Pod \"{}\" failed - error: {error}",
        pod(of)
    )
}

/// A sleep hook whose container ended first.
#[must_use]
pub fn sleep_hook_failed(of: &Pod, name: &str, seconds: i64) -> String {
    format!(
        "Sleep lifecycle hook ({seconds}) for Container \"{name}\" in Pod \"{}\" failed - error: \
         container terminated before sleep hook finished",
        pod(of)
    )
}

/// A list as Go prints it: `[a b]`.
pub(crate) fn go_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    format!("[{}]", names.into_iter().collect::<Vec<_>>().join(" "))
}

/// Go's `%q` for a string.
#[must_use]
pub fn quoted(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            c if (c as u32) < 0x80 && c.is_control() => {
                let _infallible = write!(out, "\\x{:02x}", c as u32);
            }
            c if c.is_control() => {
                let _infallible = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A duration as Go's `Duration.String` prints it: `0s`, `1.5ms`, `10s`, `1m20s`, `1h0m0s`.
#[must_use]
pub fn go_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000_000_000 {
        let (unit, name) = match nanos {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return format!("{}{name}", decimal(nanos, unit));
    }
    let minutes = nanos / 60_000_000_000;
    let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, m) => format!("{m}m{seconds}s"),
        (h, m) => format!("{h}h{m}m{seconds}s"),
    }
}

/// `value / unit` without trailing zeros; `unit` is a power of ten.
fn decimal(value: u128, unit: u128) -> String {
    let whole = value / unit;
    let rest = value % unit;
    if rest == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    let fraction = format!("{rest:0digits$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

/// Pull times are told in whole milliseconds.
fn whole_milliseconds(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
