//! Running one probe: exec, httpGet, tcpSocket, grpc.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use klet_api::k8s_openapi::api::core::v1::Probe;
use klet_api::{Container, Pod};
use klet_cri::{ExecConfig, ExecIo, Reply, Request};
use klet_pod::probe::{ContainerView, Outcome, ProbeSpec};
use klet_pod::text::go_duration;
use klet_spec::environment::{Environment, expand};

use super::grpc;
use crate::http::{self, HttpError, Target};
use crate::pod::SharedShim;

/// Bytes of a probe's output that are kept.
const OUTPUT: u32 = 10 << 10;

/// How long a supervisor may take in addition: to start the command, and to see it dead.
const OVERHEAD: Duration = Duration::from_secs(15);

/// How a probe ended, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) outcome: Outcome,
    pub(super) output: String,
}

impl Checked {
    fn success(output: impl Into<String>) -> Self {
        Self { outcome: Outcome::Success, output: output.into() }
    }

    pub(super) fn failure(output: impl Into<String>) -> Self {
        Self { outcome: Outcome::Failure, output: output.into() }
    }

    fn error(output: impl Into<String>) -> Self {
        Self { outcome: Outcome::Error, output: output.into() }
    }
}

/// Runs the handler of `probe` once.
pub(super) async fn check(
    pod: &Pod,
    container: &Container,
    probe: &Probe,
    spec: ProbeSpec,
    view: &ContainerView,
    shim: &SharedShim,
) -> Checked {
    let ip = pod_ip(pod);
    if let Some(exec) = &probe.exec {
        let command = exec.command.clone().unwrap_or_default();
        return check_exec(container, view, &command, spec.timeout, shim).await;
    }
    if let Some(get) = &probe.http_get {
        return match Target::of(get, Some(container), ip) {
            Ok(target) => judge(http::get(&target, &http::PROBE_AGENT, spec.timeout).await),
            Err(error) => Checked::error(error.to_string()),
        };
    }
    if let Some(socket) = &probe.tcp_socket {
        let given = socket.host.as_deref().filter(|host| !host.is_empty());
        let host = given.map(ToOwned::to_owned).or_else(|| ip.map(|ip| ip.to_string()));
        return match (host, http::port(&socket.port, Some(container))) {
            (Some(host), Ok(port)) => check_tcp(&host, port, spec.timeout).await,
            (None, _) => Checked::error("the pod has no address"),
            (_, Err(error)) => Checked::error(error.to_string()),
        };
    }
    if let Some(health) = &probe.grpc {
        let service = health.service.clone().unwrap_or_default();
        return match (ip, u16::try_from(health.port)) {
            (Some(ip), Ok(port)) => {
                grpc::check(SocketAddr::new(ip, port), &service, spec.timeout).await
            }
            _ => Checked::error("the pod has no address"),
        };
    }
    Checked::error("missing probe handler")
}

impl From<grpc::Health> for Checked {
    fn from(health: grpc::Health) -> Self {
        match health {
            grpc::Health::Serving => Self::success("service healthy"),
            grpc::Health::Not(text) => Self::failure(text),
        }
    }
}

fn pod_ip(pod: &Pod) -> Option<IpAddr> {
    pod.status.as_ref()?.pod_ip.as_deref()?.parse().ok()
}

fn judge(answer: Result<http::Answer, HttpError>) -> Checked {
    match answer {
        Ok(answer) if (300..400).contains(&answer.status) => Checked {
            outcome: Outcome::Warning,
            output: format!(
                "Probe terminated redirects, Response body: {}",
                String::from_utf8_lossy(&answer.body)
            ),
        },
        Ok(answer) if (200..400).contains(&answer.status) => {
            Checked::success(String::from_utf8_lossy(&answer.body))
        }
        Ok(answer) => {
            Checked::failure(format!("HTTP probe failed with statuscode: {}", answer.status))
        }
        Err(error @ HttpError::Transport { .. }) => Checked::failure(error.to_string()),
        Err(error @ HttpError::Request(_)) => Checked::error(error.to_string()),
    }
}

async fn check_tcp(host: &str, port: u16, timeout: Duration) -> Checked {
    match tokio::time::timeout(timeout, http::dial(host, port)).await {
        Ok(Ok(_stream)) => Checked::success(""),
        Ok(Err(error)) => Checked::failure(error),
        Err(_) => {
            let address = http::join(host, port);
            Checked::failure(format!("dial tcp {address}: i/o timeout"))
        }
    }
}

async fn check_exec(
    container: &Container,
    view: &ContainerView,
    command: &[String],
    timeout: Duration,
    shim: &SharedShim,
) -> Checked {
    let (Some(shim), Some(id)) = (shim.get(), view.id.clone()) else {
        return Checked::error("the container is not running");
    };
    // Only literal values count here, as in the kubelet.
    let literal: Environment = container
        .env
        .iter()
        .flatten()
        .filter_map(|variable| Some((variable.name.clone(), variable.value.clone()?)))
        .collect();
    let args: Vec<String> = command.iter().map(|word| expand(word, &literal)).collect();
    let line = args.join(" ");
    let config = ExecConfig {
        container_id: id,
        args,
        env: Vec::new(),
        io: ExecIo::Capture {
            limit: OUTPUT,
            timeout_ms: Some(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        },
    };
    let limit = timeout + OVERHEAD;
    match shim.call_within(limit, Request::Exec(Box::new(config))).await {
        Ok((Reply::ExecDone(outcome), _)) if outcome.timed_out => {
            let limit = go_duration(timeout);
            Checked::failure(format!("command timed out: {line:?} timed out after {limit}"))
        }
        Ok((Reply::ExecDone(outcome), _)) => {
            let output = String::from_utf8_lossy(&outcome.output).into_owned();
            if outcome.code == 0 { Checked::success(output) } else { Checked::failure(output) }
        }
        Ok((other, _)) => Checked::error(format!("the supervisor answered {other:?}")),
        Err(error) => Checked::error(error.to_string()),
    }
}
