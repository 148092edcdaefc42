//! The terminal we run in: raw mode, its size, and giving it back.

use std::io::{IsTerminal, stdin};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Raw mode for as long as this lives.
#[derive(Debug)]
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Sets stdin's terminal raw; nothing if stdin is none.
    pub(crate) fn enter() -> Option<Self> {
        if !stdin().is_terminal() {
            return None;
        }
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw).ok()?;
        Some(RawMode { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing better can be done if the terminal is gone.
        let _gone = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}

/// Width and height now.
fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdin()).ok()?;
    Some((size.ws_col, size.ws_row))
}

/// The terminal's size, kept current on SIGWINCH.
pub(crate) fn sizes() -> Option<watch::Receiver<(u16, u16)>> {
    let (sender, receiver) = watch::channel(size()?);
    let mut changes = signal(SignalKind::window_change()).ok()?;
    tokio::spawn(async move {
        while changes.recv().await.is_some() {
            let Some(now) = size() else { break };
            if sender.send(now).is_err() {
                break;
            }
        }
    });
    Some(receiver)
}

/// Completes with the signal's number when someone asks us to stop, so that the terminal can be
/// given back first.
pub(crate) async fn asked_to_stop() -> i32 {
    let (Ok(mut terminate), Ok(mut hangup)) =
        (signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
        _ = hangup.recv() => SignalKind::hangup().as_raw_value(),
    }
}
