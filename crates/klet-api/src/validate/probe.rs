//! Probes, lifecycle hooks and their handlers.

use super::{choice, complain, complain_number, non_negative, text};
use crate::field::{ErrorList, FieldError, Path};
use crate::k8s_openapi::api::core::v1::{
    ExecAction, GRPCAction, HTTPGetAction, Lifecycle, LifecycleHandler, Probe, SleepAction,
    TCPSocketAction,
};
use crate::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use crate::{names, unsupported};

/// Signals a container may be stopped with, besides the real-time ones.
const STOP_SIGNALS: &[&str] = &[
    "SIGABRT",
    "SIGALRM",
    "SIGBUS",
    "SIGCHLD",
    "SIGCLD",
    "SIGCONT",
    "SIGFPE",
    "SIGHUP",
    "SIGILL",
    "SIGINT",
    "SIGIO",
    "SIGIOT",
    "SIGKILL",
    "SIGPIPE",
    "SIGPOLL",
    "SIGPROF",
    "SIGPWR",
    "SIGQUIT",
    "SIGSEGV",
    "SIGSTKFLT",
    "SIGSTOP",
    "SIGSYS",
    "SIGTERM",
    "SIGTRAP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGUSR1",
    "SIGUSR2",
    "SIGVTALRM",
    "SIGWINCH",
    "SIGXCPU",
    "SIGXFSZ",
];

/// The three probes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Liveness,
    Readiness,
    Startup,
}

pub(super) fn check(
    errors: &mut ErrorList,
    probe: &Probe,
    kind: Kind,
    grace: i64,
    path: &Path<'_>,
) {
    let handler = Handler {
        exec: probe.exec.as_ref(),
        http_get: probe.http_get.as_ref(),
        tcp_socket: probe.tcp_socket.as_ref(),
        grpc: probe.grpc.as_ref(),
        sleep: None,
    };
    handler.check(errors, grace, path);
    let numbers = [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ];
    for (field, number) in numbers {
        non_negative(errors, path.child(field), i64::from(number.unwrap_or(0)));
    }
    if let Some(own_grace) = probe.termination_grace_period_seconds {
        let at = path.child("terminationGracePeriodSeconds");
        if own_grace <= 0 {
            errors.push(FieldError::invalid(at, own_grace, "must be greater than 0"));
        }
        if kind == Kind::Readiness {
            errors.push(FieldError::invalid(at, own_grace, "must not be set for readinessProbes"));
        }
    }
    let threshold = probe.success_threshold.unwrap_or(1);
    if kind != Kind::Readiness && threshold != 1 {
        errors.push(FieldError::invalid(path.child("successThreshold"), threshold, "must be 1"));
    }
}

pub(super) fn check_lifecycle(
    errors: &mut ErrorList,
    lifecycle: &Lifecycle,
    grace: i64,
    os: Option<&str>,
    path: &Path<'_>,
) {
    for (field, handler) in [("postStart", &lifecycle.post_start), ("preStop", &lifecycle.pre_stop)]
    {
        if let Some(handler) = handler {
            Handler::from(handler).check(errors, grace, &path.child(field));
        }
    }
    let Some(signal) = &lifecycle.stop_signal else { return };
    let at = path.child("stopSignal");
    if os.is_none() {
        errors.push(FieldError::forbidden(
            at,
            "may not be set for containers with empty `spec.os.name`",
        ));
    }
    if !is_stop_signal(signal) {
        errors.push(FieldError::not_supported(at, signal, STOP_SIGNALS));
    }
}

fn is_stop_signal(signal: &str) -> bool {
    let real_time = |prefix: &str, max: u32| {
        let rest = signal.strip_prefix(prefix);
        rest.is_some_and(|r| {
            r.is_empty() || r[1..].parse::<u32>().is_ok_and(|n| (1..=max).contains(&n))
        })
    };
    let shape =
        !signal.starts_with("SIGRTMIN") || signal.len() == 8 || signal.as_bytes()[8] == b'+';
    let shape = shape
        && (!signal.starts_with("SIGRTMAX") || signal.len() == 8 || signal.as_bytes()[8] == b'-');
    signal.is_ascii()
        && (STOP_SIGNALS.contains(&signal)
            || shape && (real_time("SIGRTMIN", 15) || real_time("SIGRTMAX", 14)))
}

/// What a probe or hook does.
struct Handler<'a> {
    exec: Option<&'a ExecAction>,
    http_get: Option<&'a HTTPGetAction>,
    tcp_socket: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
    sleep: Option<&'a SleepAction>,
}

impl<'a> From<&'a LifecycleHandler> for Handler<'a> {
    fn from(handler: &'a LifecycleHandler) -> Self {
        Self {
            exec: handler.exec.as_ref(),
            http_get: handler.http_get.as_ref(),
            tcp_socket: handler.tcp_socket.as_ref(),
            grpc: None,
            sleep: handler.sleep.as_ref(),
        }
    }
}

impl Handler<'_> {
    fn check(&self, errors: &mut ErrorList, grace: i64, path: &Path<'_>) {
        let given = [
            ("exec", self.exec.is_some()),
            ("httpGet", self.http_get.is_some()),
            ("tcpSocket", self.tcp_socket.is_some()),
            ("grpc", self.grpc.is_some()),
            ("sleep", self.sleep.is_some()),
        ];
        let mut given = given.iter().filter(|(_, is)| *is).map(|(field, _)| *field);
        let Some(first) = given.next() else {
            errors.push(FieldError::required(path, "must specify a handler type"));
            return;
        };
        self.check_one(errors, first, grace, path);
        for field in given {
            let why = "may not specify more than 1 handler type";
            errors.push(FieldError::forbidden(path.child(field), why));
        }
    }

    fn check_one(&self, errors: &mut ErrorList, field: &str, grace: i64, path: &Path<'_>) {
        let at = path.child(field);
        if let Some(exec) = self.exec {
            if exec.command.as_ref().is_none_or(Vec::is_empty) {
                errors.push(FieldError::required(at.child("command"), ""));
            }
        } else if let Some(http) = self.http_get {
            http_get(errors, http, &at);
        } else if let Some(tcp) = self.tcp_socket {
            port(errors, &tcp.port, at.child("port"));
        } else if let Some(grpc) = self.grpc {
            port(errors, &IntOrString::Int(grpc.port), at.child("port"));
            unsupported::check_grpc(errors, grpc, &at);
        } else if let Some(sleep) = self.sleep {
            // Zero is accepted, and so is the whole grace period.
            if sleep.seconds < 0 || sleep.seconds > grace {
                let why = format!(
                    "must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                );
                errors.push(FieldError::invalid(at, sleep.seconds, why));
            }
        }
    }
}

fn http_get(errors: &mut ErrorList, http: &HTTPGetAction, at: &Path<'_>) {
    if text(http.path.as_ref()).is_empty() {
        errors.push(FieldError::required(at.child("path"), ""));
    }
    port(errors, &http.port, at.child("port"));
    choice(errors, at.child("scheme"), text(http.scheme.as_ref()), &["HTTP", "HTTPS"]);
    for header in http.http_headers.iter().flatten() {
        complain(errors, at.child("httpHeaders"), &header.name, names::http_header(&header.name));
    }
    unsupported::check_http(errors, http, at);
}

/// A port by number or name.
fn port(errors: &mut ErrorList, port: &IntOrString, path: Path<'_>) {
    match port {
        IntOrString::Int(number) => {
            complain_number(errors, path, i64::from(*number), names::port_number(*number));
        }
        IntOrString::String(name) => complain(errors, path, name, names::port_name(name)),
    }
}
