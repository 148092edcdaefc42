//! postStart and preStop: exec, httpGet, sleep.

use std::time::Duration;

use klet_api::k8s_openapi::api::core::v1::LifecycleHandler;
use klet_cri::{ExecConfig, ExecIo, Reply, Request};
use klet_pod::{ContainerKind, text};

use super::stop::until_exited;
use super::worker::Worker;
use super::{find, observe};
use crate::events::Severity;
use crate::http::{self, HttpError};
use crate::shim::Shim;

/// Output of a hook that is kept for its error message, bytes.
const OUTPUT: u32 = 10 << 10;
/// How long an HTTP hook may take in all: hooks have no timeout of their own.
const HTTP: Duration = Duration::from_secs(24 * 3600);

/// Runs a hook to its end.
///
/// # Errors
/// The kubelet's text of what failed.
pub async fn run(
    worker: &Worker,
    shim: &Shim,
    (kind, name, id): (ContainerKind, &str, &str),
    hook: &LifecycleHandler,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        return run_exec(worker, shim, (name, id), exec.command.clone().unwrap_or_default()).await;
    }
    if let Some(get) = &hook.http_get {
        let path = get.path.as_deref().unwrap_or("/");
        let container = find(&worker.pod, kind, name);
        let ip = observe::SandboxRecord::read(&worker.identity.dir)
            .and_then(|record| record.ips.first().copied());
        let result = match http::Target::of(get, container, ip) {
            Ok(target) => run_http(worker, (kind, name), target).await,
            Err(error) => Err(error),
        };
        return result
            .map_err(|error| text::http_hook_failed(&worker.pod, name, path, &error.to_string()));
    }
    if let Some(sleep) = &hook.sleep {
        let pause = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0));
        return tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            _ = until_exited(shim, id) => Err(text::sleep_hook_failed(&worker.pod, name, sleep.seconds)),
        };
    }
    Err("Cannot run handler: invalid handler: tcpSocket".to_owned())
}

/// Whatever answers is fine. A server without TLS is asked again without it, and without credentials.
async fn run_http(
    worker: &Worker,
    target: (ContainerKind, &str),
    mut to: http::Target,
) -> Result<(), HttpError> {
    let error = match http::get(&to, &http::LIFECYCLE_AGENT, HTTP).await {
        Err(error) if error.is_plain_answer() => error,
        other => return other.map(drop),
    };
    to.tls = false;
    to.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("authorization"));
    if http::get(&to, &http::LIFECYCLE_AGENT, HTTP).await.is_err() {
        return Err(error);
    }
    let text = format!(
        "request to HTTPS lifecycle hook {} got HTTP response, retry with HTTP succeeded",
        to.authority()
    );
    let events = &worker.node.events;
    events.container(&worker.pod, target, Severity::Warning, "LifecycleHTTPFallback", text);
    Ok(())
}

async fn run_exec(
    worker: &Worker,
    shim: &Shim,
    (name, id): (&str, &str),
    command: Vec<String>,
) -> Result<(), String> {
    let config = ExecConfig {
        container_id: id.to_owned(),
        args: command.clone(),
        env: Vec::new(),
        io: ExecIo::Capture { limit: OUTPUT, timeout_ms: None },
    };
    match shim.call_patiently(Request::Exec(Box::new(config))).await {
        Ok(Reply::ExecDone(outcome)) if outcome.code == 0 => Ok(()),
        Ok(Reply::ExecDone(outcome)) => Err(text::exec_hook_failed(
            &worker.pod,
            name,
            &command,
            outcome.code,
            &String::from_utf8_lossy(&outcome.stderr),
            &String::from_utf8_lossy(&outcome.output),
        )),
        Ok(other) => Err(format!("the supervisor answered {other:?}")),
        Err(error) => Err(error.to_string()),
    }
}
