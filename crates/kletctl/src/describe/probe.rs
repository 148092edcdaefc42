//! A probe on one line.

use serde_json::Value;

use super::fields::{either, number, text, texts};

/// `http-get http://:80/ delay=0s timeout=1s period=10s successThreshold=1 failureThreshold=3`.
pub(super) fn describe(probe: &Value) -> String {
    let of = |pointer: &str| number(probe, pointer);
    let numbers = format!(
        "delay={}s timeout={}s period={}s successThreshold={} failureThreshold={}",
        of("/initialDelaySeconds"),
        of("/timeoutSeconds"),
        of("/periodSeconds"),
        of("/successThreshold"),
        of("/failureThreshold")
    );
    format!("{} {numbers}", handler(probe))
}

fn handler(probe: &Value) -> String {
    if let Some(exec) = probe.get("exec") {
        return format!("exec [{}]", texts(exec, "/command").join(" "));
    }
    if let Some(http) = probe.get("httpGet") {
        return format!("http-get {}", url(http));
    }
    if let Some(tcp) = probe.get("tcpSocket") {
        return format!("tcp-socket {}:{}", text(tcp, "/host"), either(&tcp["port"]));
    }
    if let Some(grpc) = probe.get("grpc") {
        return format!("grpc <pod>:{} {}", number(grpc, "/port"), text(grpc, "/service"));
    }
    "unknown".to_owned()
}

fn url(http: &Value) -> String {
    let scheme = match text(http, "/scheme") {
        "" => "http".to_owned(),
        scheme => scheme.to_lowercase(),
    };
    let (host, path) = (text(http, "/host"), text(http, "/path"));
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
    format!("{scheme}://{host}:{}{slash}{}", either(&http["port"]), escaped(path))
}

/// A path as Go's `net/url` writes it.
fn escaped(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            _ if b"-_.~$&+,/:;=@".contains(&byte) => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
