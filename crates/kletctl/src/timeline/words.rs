//! What happened, in words.

use jiff::SignedDuration;

use super::{Entry, What};

/// `0s`, `12ms`, `1.25s`, `42s`, `5m3s`.
pub(super) fn elapsed(duration: SignedDuration) -> String {
    let milliseconds = duration.as_millis();
    match milliseconds {
        ..1 => "0s".to_owned(),
        1..1000 => format!("{milliseconds}ms"),
        1000..10_000 => {
            let text = format!("{}.{:02}", milliseconds / 1000, milliseconds % 1000 / 10);
            format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => klet_api::duration::human(duration),
    }
}

/// One entry.
pub(super) fn sentence(entry: &Entry) -> String {
    let detail = entry.detail.trim();
    let with = |text: &str| match detail {
        "" => text.to_owned(),
        detail => format!("{text}: {detail}"),
    };
    match entry.what {
        What::Accepted => "accepted".to_owned(),
        What::Deleting => with("asked to end"),
        What::SandboxCreated => with("sandbox made"),
        What::SandboxRemoved => "sandbox removed".to_owned(),
        What::InitStarted | What::Started => match detail.strip_prefix("attempt ") {
            None | Some("0") => "started".to_owned(),
            Some(restart) => format!("started, restart {restart}"),
        },
        What::StartFailed => with("could not start"),
        What::Completed | What::Failed => with("ended"),
        What::PostStartBegan => "postStart hook begins".to_owned(),
        What::PostStartDone => "postStart hook done".to_owned(),
        What::PostStartFailed => with("postStart hook failed"),
        What::PreStopBegan => "preStop hook begins".to_owned(),
        What::PreStopDone => "preStop hook done".to_owned(),
        What::PreStopFailed => with("preStop hook failed"),
        // What a good answer says is of no interest.
        What::ProbeSuccess => format!("{} succeeds", detail.split(':').next().unwrap_or(detail)),
        What::ProbeFailure => probe_failure(detail),
        What::Ready => "ready".to_owned(),
        What::NotReady => "not ready".to_owned(),
        What::Killing => with("being stopped"),
        What::BackOff => with("waits"),
        What::Adopted => "found running by a new kletd".to_owned(),
        What::CleanedUp => "cleaned up".to_owned(),
        What::Other => detail.to_owned(),
    }
}

/// `Liveness probe fails: OUTPUT`, of `Liveness probe: OUTPUT`.
fn probe_failure(detail: &str) -> String {
    let (probe, output) = detail.split_once(':').unwrap_or((detail, ""));
    match output.trim() {
        "" => format!("{probe} fails"),
        output => format!("{probe} fails: {output}"),
    }
}
